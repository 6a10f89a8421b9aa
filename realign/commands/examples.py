"""Command lines that the help pages end with."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        'realign generate "a person walks forward" -o walk.gif',
        'realign search "a person bows"',
        "realign COMMAND --help",
    ),
    "prepare": (
        "realign prepare path/to/HumanML3D -o prepared/humanml3d",
        "realign prepare path/to/motions --captions captions.csv -o prepared/mine",
        "realign prepare cmu CMU --humanml3d HumanML3D -o prepared/cmu",
    ),
    "generate": (
        'realign generate "a person walks forward" -o walk.gif',
        'realign generate "a person bows" "a person runs" --samples 4 --seconds 4 -o motions.html',
        'realign generate "a person bows" --guidance best-of --candidates 8 -o bow.bvh',
        'realign generate --sequence "a person walks:4" "a person bows:3" -o both.mp4',
        'realign generate "a person bows" --keep walk.npy --keep-frames 0:20,-20: -o between.gif',
        'realign generate "a person walks forward" --path path.csv --seconds 6 -o along.gif',
        "realign generate --file captions.txt --checkpoint generator_features -o motions.npy",
    ),
    "render": (
        "realign render motion.npy -o motion.gif",
        'realign render a.bvh b.npy --caption "the first" --caption "the second" -o both.html',
    ),
    "index": (
        "realign index build --data prepared/mine --split all -o my_index",
        "realign index merge my_index other_index -o whole_index",
    ),
    "index build": (
        "realign index build --data prepared/mine --split all -o my_index",
        "realign index build --checkpoint runs/reward/last.ckpt --data prepared/mine --with-motions -o my_index",
    ),
    "index merge": ("realign index merge my_index other_index -o whole_index",),
    "index export": ("realign index export my_index -o vectors",),
    "index push": ("realign index push my_index me/my-index --private",),
    "calibrate": ("realign calibrate --index my_index --checkpoint my_retriever --data prepared/mine",),
    "search": (
        'realign search "a person bows" -k 5',
        "realign search --motion walk.bvh --render hits.png",
        'realign search "a person bows" --index my_index --json',
    ),
    "evaluate": (
        "realign evaluate --data prepared/mocap --protocol mocap --replications 3",
        "realign evaluate --data prepared/mocap --guidance none reward best-of --limit 256 -o quick.json",
        "realign evaluate --config paper/mld_humanml3d",
    ),
    "sweep": ("realign sweep --data prepared/mocap --split val --strength 0 100 300 --replications 2 -o sweep.csv",),
    "tune-guidance": (
        "realign tune-guidance --generator my_generator --reward my_reward --data prepared/mocap --eta 0",
    ),
    "export": (
        "realign export runs/generator_mdm_mocap/best.ckpt -o my_generator",
        "realign export my_generator --hub me/my-generator --license mit",
    ),
    "import": (
        "realign import mdm model000475000.pt --stats HumanML3D -o my_mdm",
        "realign import tmr tmr_humanml3d_guoh3dfeats --stats stats/humanml3d/guoh3dfeats -o my_tmr",
    ),
    "doctor": ("realign doctor",),
    "demo": ("realign demo", "realign demo --host 0.0.0.0 --port 8080 --no-browser"),
    "fit": (
        "realign fit --config tiny/vae",
        "realign fit --config generator/mdm_humanml3d --trainer.max_epochs 100 --data.data prepared/humanml3d",
        "realign fit --config generator/mdm_humanml3d --ckpt_path runs/generator_mdm_humanml3d/last.ckpt",
        "realign fit --config generator/mdm_humanml3d --config mine.yaml --print_config",
        "realign fit --model.help realign.tasks.GeneratorTask",
    ),
    **{
        name: (
            f"realign {name} --config generator/mdm_humanml3d --ckpt_path runs/generator_mdm_humanml3d/best.ckpt",
            f"realign {name} --config generator/mdm_humanml3d --ckpt_path my_generator",
        )
        for name in ("validate", "test", "predict")
    },
}
"""Examples by command; those of all commands under the empty name."""


def told(command: str) -> str:
    """The examples of a command, as its help page ends; empty if there are none."""
    lines = "".join(f"  {line}\n" for line in EXAMPLES.get(command, ()))
    return f"examples:\n{lines}" if lines else ""
