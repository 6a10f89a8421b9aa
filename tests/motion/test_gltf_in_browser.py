"""A figure opened by three.js in headless Chromium; needs the npm package three, in the folder of REALIGN_THREE."""

import functools
import http.server
import json
import os
import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from made import person

from realign.motion.clip import MotionClip
from realign.motion.rotation_solver import solve_rotations
from realign.motion.skeleton import HUMANML3D

PAGE = """<!doctype html><pre id="found"></pre>
<script type="importmap">{"imports": {"three": "./three/build/three.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "./three/examples/jsm/loaders/GLTFLoader.js";
const figure = await new GLTFLoader().loadAsync("x.glb");
const [clip] = figure.animations, mixer = new THREE.AnimationMixer(figure.scene), places = [];
let mesh;
figure.scene.traverse((each) => { if (each.isSkinnedMesh) mesh = each; });
const action = mixer.clipAction(clip).setLoop(THREE.LoopOnce).play();
action.clampWhenFinished = true;
for (const time of clip.tracks[0].times) {
  mixer.setTime(time);
  figure.scene.updateMatrixWorld(true);
  places.push(mesh.skeleton.bones.map((bone) => bone.getWorldPosition(new THREE.Vector3()).toArray()));
}
const names = mesh.skeleton.bones.map((bone) => bone.name);
const box = new THREE.Box3().setFromObject(mesh, true);  // of the skinned vertices, in the last pose
const found = { caption: clip.name, names, places, box: [box.min.toArray(), box.max.toArray()] };
document.getElementById("found").textContent = JSON.stringify(found);
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def three() -> Path:
    """The folder of the npm package three."""
    folder = Path(os.environ.get("REALIGN_THREE", "none")).absolute()
    if not (folder / "examples/jsm/loaders/GLTFLoader.js").is_file():
        pytest.skip("needs the npm package three, in the folder of REALIGN_THREE")
    return folder


def test_three_shows_the_joints_that_were_written(chromium, three, tmp_path):
    motion = MotionClip(person(0, 10).numpy(), 20.0, "a person 歩く")
    motion.save(tmp_path / "x.glb")
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "three").symlink_to(three)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
        page = f"http://127.0.0.1:{server.server_address[1]}/page.html"
        words += ["--virtual-time-budget=20000", page]
        done = subprocess.run([chromium, *words], capture_output=True, text=True, timeout=100)
    finally:
        server.shutdown()
        server.server_close()
    text = re.search(r'<pre id="found">(\{.*\})</pre>', done.stdout)
    assert text, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(text[1])
    assert found["caption"] == motion.caption
    expected = solve_rotations(torch.from_numpy(motion.joints), HUMANML3D).joints().numpy()
    places = np.array(found["places"])[:, [found["names"].index(name) for name in HUMANML3D.joints]]
    assert np.abs(places - expected).max() < 1e-4
    low, high = np.array(found["box"])  # the mesh follows its joints
    assert (low < places[-1].min(axis=0)).all() and (low > places[-1].min(axis=0) - 0.2).all()
    assert (high > places[-1].max(axis=0)).all() and (high < places[-1].max(axis=0) + 0.2).all()
