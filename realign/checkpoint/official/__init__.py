"""Published checkpoints of other programs, one importer a module: its name is that of the kind.

An importer is a function ``read(file, **options) -> Imported``. It names networks of this package by their class path,
says by a `KeyMap` what each published weight is called here, and builds nothing itself.
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
"""Every kind, with the end of a weight's name that tells its files from those of the others."""
