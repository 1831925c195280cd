use super::python_float;

#[test]
fn doubles_are_written_as_python_writes_them() {
    for (value, text) in [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (9.176986238532162e-5, "9.176986238532162e-05"),
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (123456789.125, "123456789.125"),
        (1e16, "1e+16"),
        (1.5e300, "1.5e+300"),
        (-2.5e-7, "-2.5e-07"),
    ] {
        assert_eq!(python_float(value), text);
    }
}
