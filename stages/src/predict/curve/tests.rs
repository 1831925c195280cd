use proptest::prelude::*;

use super::{Curve, pool_violators};

#[test]
fn between_points_it_is_linear_and_beyond_them_it_goes_on() {
    let curve = Curve::rising(vec![(1.0, 10.0), (3.0, 20.0), (4.0, 40.0)]);
    assert_eq!([0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0].map(|x| curve.at(x)), [10.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0]);
    assert_eq!(Curve::rising(vec![(2.0, 7.0)]).at(9.0), 7.0);
}

#[test]
fn a_dip_is_pooled_with_its_neighbours() {
    let mut values = [1.0, 4.0, 2.0, 3.0, 5.0];
    pool_violators(&mut values);
    assert_eq!(values, [1.0, 3.0, 3.0, 3.0, 5.0]);
}

#[test]
fn a_sum_knows_no_more_than_its_shortest_part() {
    let a = Curve::rising(vec![(1.0, 1.0), (8.0, 8.0)]);
    let b = Curve::rising(vec![(1.0, 10.0), (4.0, 10.0)]);
    let sum = Curve::sum(&[(2.0, a), (1.0, b)]);
    assert_eq!(sum.end(), 4.0);
    assert_eq!(sum.at(1.0), 12.0);
    assert_eq!(sum.at(4.0), 18.0);
    assert_eq!(sum.at(2.0), 14.0);
}

proptest! {
    #[test]
    fn pooling_gives_rising_values_with_the_same_sum(mut values in prop::collection::vec(0.0f64..100.0, 1..40)) {
        let before: f64 = values.iter().sum();
        pool_violators(&mut values);
        prop_assert!(values.windows(2).all(|w| w[0] <= w[1] + 1e-9));
        prop_assert!((values.iter().sum::<f64>() - before).abs() < 1e-6);
    }
}
