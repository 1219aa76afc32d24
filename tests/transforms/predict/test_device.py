import pytest

from transforms.predict.device import cpu
from transforms.worker.threads import num_cores


@pytest.mark.parametrize(
    ("flags", "precision", "reason"),
    [
        ("fpu avx512_bf16 sse", "bfloat16", "the processor has avx512_bf16"),
        ("amx_bf16 avx512_bf16", "bfloat16", "the processor has amx_bf16 and avx512_bf16"),
        ("fpu avx2", "float32", "the processor has no bfloat16"),
    ],
)
def test_auto_precision_is_what_the_processor_has(tmp_path, flags, precision, reason):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: A Processor\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert cpu("auto", path) == (f"A Processor, {num_cores()} cores", False, precision, reason)
    assert cpu("float32", path)[1:] == (False, "float32", "as configured")


def test_a_system_that_does_not_describe_its_processor(tmp_path):
    assert cpu("auto", tmp_path / "none") == (
        f"CPU, {num_cores()} cores",
        False,
        "float32",
        "the processor has no bfloat16",
    )
