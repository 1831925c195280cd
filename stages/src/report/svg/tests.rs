use super::*;

#[test]
fn a_scale_puts_its_ends_at_the_edges() {
    let linear = Scale::linear(10.0, 20.0);
    assert_eq!((linear.at(10.0), linear.at(15.0), linear.at(20.0), linear.at(99.0)), (0.0, 0.5, 1.0, 1.0));
    let log = Scale::Log { from: 1.0, to: 100.0 };
    assert!((log.at(10.0) - 0.5).abs() < 1e-12);
    assert_eq!(log.at(0.0), 0.0);
    assert_eq!(Scale::linear(3.0, 3.0).at(3.0), 0.0);
}

#[test]
fn ticks_are_round_and_lie_within_the_ends() {
    assert_eq!(Scale::linear(0.0, 10.0).ticks(5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(Scale::linear(-3.0, 3.0).ticks(6), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(Scale::Log { from: 0.9, to: 120.0 }.ticks(7), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    for scale in [Scale::linear(0.0, 7.3e9), Scale::log(3e5, 4.1e9), Scale::log(2.0, 2.1)] {
        let ticks = scale.ticks(5);
        assert!((2..=16).contains(&ticks.len()), "{scale:?} {ticks:?}");
        assert!(ticks.iter().all(|t| (0.0..=1.0).contains(&scale.at(*t))));
    }
}

#[test]
fn a_frame_draws_upwards() {
    let frame = Frame {
        left: 10.0,
        top: 20.0,
        width: 100.0,
        height: 50.0,
        x: Scale::linear(0.0, 1.0),
        y: Scale::linear(0.0, 2.0),
    };
    assert_eq!(frame.point(0.0, 0.0), (10.0, 70.0));
    assert_eq!(frame.point(1.0, 2.0), (110.0, 20.0));
}

#[test]
fn a_figure_says_what_it_shows() {
    let mut figure = Figure::new("f", "a <title>", "what & why", 10.0, 10.0);
    figure.mark("fp", "circle", (1.0, 2.0), 3.0, "p50: 3 < 4");
    let text = figure.standalone();
    assert!(text.contains("<title id=\"f-t\">a &lt;title&gt;</title><desc id=\"f-d\">what &amp; why</desc>"));
    assert!(text.contains("<title>p50: 3 &lt; 4</title>") && text.contains("prefers-color-scheme:dark"));
    assert!(!figure.inline().contains("xmlns"));
}
