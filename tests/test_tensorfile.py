import os

import torch

from worldjepa.tensorfile import read_tensors, write_tensors


def test_a_file_may_be_read_by_whom_new_files_may_be_read(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "model.safetensors", {"weight": torch.arange(3.0)})
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    whole = torch.arange(6.0)
    write_tensors(tmp_path / "model.safetensors", {"whole": whole, "part": whole[2:4], "again": whole})
    found = read_tensors(tmp_path / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "whole": [0, 1, 2, 3, 4, 5],
        "part": [2, 3],
        "again": [0, 1, 2, 3, 4, 5],
    }
