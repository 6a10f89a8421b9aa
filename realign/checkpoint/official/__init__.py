"""Published checkpoints of other programs, with one module per importer, named after the kind.

An importer is a function ``read(file, **options) -> Imported``. It names networks of this package by class path and
maps names of published weights by a `KeyMap`. It does not build models.
"""

KINDS = {
    "mdm": "input_process.poseEmbedding.weight",
    "mld": "denoiser.mem_pos.pe",
    "motionlcm": "denoiser.emb_proj.1.weight",
    "motiondiffuse": "temporal_decoder_blocks.0.sa_block.query.weight",
    "spm": "motion_encoder.linear_blocks.0.weight",
    "tmr": "seqTransEncoder.layers.0.linear1.weight",
    "guo": "movement_encoder.main.0.weight",
}
"""Every kind, with the end of a weight's name that distinguishes its files from those of the others."""
