use super::*;

#[test]
fn a_card_is_asked_for_by_name_and_a_processor_by_cores() {
    let cpu = Hardware { threads: 3, ..Hardware::default() };
    assert_eq!(cpu.needs(), Needs { cpus: 3, quiet: true, ..Needs::default() });
    let card =
        Hardware { device: DeviceSort::Cuda, name: Some("H100".to_owned()), memory_mib: 80_000, ..Hardware::default() };
    let needs = card.needs();
    assert_eq!((needs.gpus, needs.gpu_name.as_deref(), needs.gpu_memory_mib), (1, Some("H100"), 80_000));
    assert!(needs.quiet);
    assert_eq!(card.oracles(), [Oracle::Gpu, Oracle::Driver]);
}

#[test]
fn a_fragment_that_cannot_be_meant_names_its_field() {
    let field = |h: Hardware| h.check().expect_err("it is wrong").field;
    assert_eq!(field(Hardware { threads: 0, ..Hardware::default() }), "hardware.threads");
    assert_eq!(field(Hardware { peak_flops: f64::NAN, ..Hardware::default() }), "hardware.peak_flops");
    assert_eq!(
        field(Hardware { bandwidth_bytes_per_s: -1.0, ..Hardware::default() }),
        "hardware.bandwidth_bytes_per_s"
    );
    assert_eq!(Hardware::default().check(), Ok(()));
}
