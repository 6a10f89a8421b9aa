"""Body models in the forms in which they are downloaded, and messages about missing ones."""

import shutil

import numpy as np
import pytest
from body_parts import made_body, write_bodies

from realign.errors import InputError
from realign.motion.body_files import BodyModels


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("smplh", ("male/model.npz", "female/model.npz")),
        ("smplh", ("models/smplh/SMPLH_MALE.npz", "models/smplh/SMPLH_FEMALE.npz")),
        ("smplx", ("smplx/SMPLX_MALE_2020.npz", "smplx/SMPLX_FEMALE_2020.npz")),
        ("smpl", ("basicmodel_m_lbs_10_207_0_v1.1.0.npz", "basicModel_f_lbs_10_207_0_v1.1.0.npz")),
    ],
)
def test_models_are_recognised_by_their_arrays_and_paths(kind, names, tmp_path):
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / name, **made_body(kind, seed))
    (tmp_path / "dmpls" / "male").mkdir(parents=True)
    np.savez(tmp_path / "dmpls" / "male" / "model.npz", eigvec=np.zeros((208, 3, 8)))
    models = BodyModels.open(tmp_path)
    for seed, gender in enumerate(("male", "female")):
        arrays = made_body(kind, seed)
        assert np.allclose(models.get(kind, gender).rest, arrays["J_regressor"] @ arrays["v_template"])
    assert models.kinds() == {kind} and len(models.paths) == 2
    with pytest.raises(InputError, match="holds no neutral SMPL.* model, only female SMPL.*; add it from "):
        models.get(kind, "neutral")


def test_smpl_and_smplh_replace_each_other_but_not_smplx(tmp_path):
    models = BodyModels.open(write_bodies(tmp_path))
    assert models.get("smpl", "male") is models.get("smplh", "male")
    with pytest.raises(InputError, match="holds no male SMPL-X model"):
        models.get("smplx", "male")


def test_folders_without_models_are_reported_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        BodyModels.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no body model; download .*smplh.tar.xz.* and unpack it"):
        BodyModels.open(tmp_path)
    (tmp_path / "SMPLH_male.pkl").write_bytes(b"\x80\x04cposix\nsystem\n.")
    with pytest.raises(InputError, match="SMPLH_male.pkl is pickled code, which is not executed; download"):
        BodyModels.open(tmp_path)
    (tmp_path / "smplh.tar.xz").write_bytes(b"")
    with pytest.raises(InputError, match="holds no body model, but smplh.tar.xz; unpack it there first"):
        BodyModels.open(tmp_path)
    (tmp_path / "male").mkdir()
    (tmp_path / "male" / "model.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="No body model in .* can be read: .*male/model.npz is cut off"):
        BodyModels.open(tmp_path)


def test_the_same_body_for_both_genders_is_a_mistake(tmp_path):
    write_bodies(tmp_path)
    shutil.copy(tmp_path / "smplh" / "male" / "model.npz", tmp_path / "smplh" / "female" / "model.npz")
    with pytest.raises(InputError, match="hold the same body; one of them has the file of the wrong gender"):
        BodyModels.open(tmp_path)


def test_two_different_models_of_a_gender_are_refused(tmp_path):
    write_bodies(tmp_path)
    np.savez(tmp_path / "SMPLH_MALE.npz", **made_body("smplh", 9))
    with pytest.raises(InputError, match="are different male SMPL.H models; keep one of them"):
        BodyModels.open(tmp_path)
    np.savez(tmp_path / "SMPLH_MALE.npz", **made_body("smplh", 0))
    assert BodyModels.open(tmp_path).get("smplh", "male").num_betas == 16
