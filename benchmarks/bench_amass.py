"""Frames per second of SMPL+H joints by forward kinematics, against posing the whole mesh as HumanML3D's program does.

python benchmarks/bench_amass.py [--vertices 6890] [--frames 4096] [--batches 1 64]

The mesh is posed as in body-model packages: shape blend shapes, joints of the shape, Rodrigues, pose blend shapes,
chain of rigid transforms, linear blend skinning of every vertex. HumanML3D's first notebook calls it once for every
frame (batch 1), the later one for many at once. Bodies are synthetic and of real size. Both run on one thread.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parts"))

from body_parts import made_body, made_motion, parents_of

from realign.motion.smpl import BodyModel


class Mesh:
    """A body posed with all its vertices, in float32."""

    def __init__(self, arrays: dict[str, np.ndarray], parents: list[int], seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        tensors = {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items() if array.ndim > 1}
        self.regressor, self.template = tensors["J_regressor"], tensors["v_template"]
        self.shapes, self.parents = tensors["shapedirs"][..., :10], parents
        vertices, joints = len(self.template), len(parents)
        self.pose_shapes = torch.randn(9 * (joints - 1), 3 * vertices, generator=generator) * 1e-3
        self.weights = torch.softmax(8 * torch.randn(vertices, joints, generator=generator), dim=-1)

    def joints(self, poses: torch.Tensor, betas: torch.Tensor, trans: torch.Tensor) -> torch.Tensor:
        """Joints (B, J, 3) of poses (B, J, 3); the vertices are posed, too, and dropped."""
        batch, count = poses.shape[:2]
        shaped = self.template + torch.einsum("bl,vkl->bvk", betas.expand(batch, -1), self.shapes)
        rest = torch.einsum("jv,bvk->bjk", self.regressor, shaped)
        turns = rodrigues(poses.reshape(-1, 3)).view(batch, count, 3, 3)
        offsets = (turns[:, 1:] - torch.eye(3)).reshape(batch, -1) @ self.pose_shapes
        posed = shaped + offsets.view(batch, -1, 3)
        steps = rest.clone()
        steps[:, 1:] -= rest[:, self.parents[1:]]
        local = torch.nn.functional.pad(torch.cat([turns, steps[..., None]], dim=-1), (0, 0, 0, 1))
        local[..., 3, 3] = 1
        chain = [local[:, 0]]
        for joint, parent in enumerate(self.parents[1:], 1):
            chain.append(chain[parent] @ local[:, joint])
        world = torch.stack(chain, dim=1)
        homogeneous = torch.nn.functional.pad(rest, (0, 1))[..., None]
        relative = world - torch.nn.functional.pad(world @ homogeneous, (3, 0))
        blended = torch.einsum("vj,bjmn->bvmn", self.weights, relative)
        ones = torch.ones(batch, posed.shape[1], 1)
        (blended @ torch.cat([posed, ones], dim=-1)[..., None])[..., :3, 0] + trans[:, None]
        return world[..., :3, 3] + trans[:, None]


def rodrigues(vectors: torch.Tensor) -> torch.Tensor:
    angle = (vectors + 1e-8).norm(dim=1, keepdim=True)
    x, y, z = (vectors / angle).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    sin, cos = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3) + sin * cross + (1 - cos) * (cross @ cross)


def seconds(work, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vertices", type=int, default=6890)
    parser.add_argument("--frames", type=int, default=4096, help="frames for forward kinematics")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], help="frames that the mesh poses at once")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parents = parents_of("smplh")
    arrays = made_body("smplh", around=-(-args.vertices // len(parents)))
    arrays["J_regressor"] = arrays["J_regressor"][:, : args.vertices]
    arrays |= {name: arrays[name][: args.vertices] for name in ("v_template", "shapedirs")}
    motion = made_motion(args.frames)
    poses, betas, trans = motion["poses"].reshape(-1, 52, 3), motion["betas"][:10], motion["trans"]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "model.npz", **arrays)
        model = BodyModel.read(Path(folder) / "model.npz")
    mesh = Mesh(arrays, parents)
    tensors = [torch.tensor(array, dtype=torch.float32) for array in (poses, betas[None], trans)]
    with torch.inference_mode():
        few = mesh.joints(tensors[0][:8], tensors[1], tensors[2][:8]).numpy()
        far = np.abs(few - model.joints(poses[:8], betas, trans[:8])).max()
        print(f"{args.vertices} vertices, 52 joints, one thread; joints differ by {far:.1e} m at most")
        rates = {}
        for batch in args.batches:
            work = lambda batch=batch: mesh.joints(tensors[0][:batch], tensors[1], tensors[2][:batch])  # noqa: E731
            calls = max(2, 16 // batch)
            rates[batch] = batch * calls / seconds(lambda work=work, calls=calls: [work() for _ in range(calls)])
    for count in (52, 22):
        ours = args.frames / seconds(lambda count=count: model.joints(poses, betas, trans, count))
        for batch, rate in rates.items():
            print(
                f"{count} joints by forward kinematics {ours:.0f} frames/s, mesh of {batch} frames at once "
                f"{rate:.0f} frames/s, ratio {ours / rate:.0f}"
            )


if __name__ == "__main__":
    main()
