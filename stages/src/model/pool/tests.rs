use super::*;
use crate::model::weights::tests::tiny_card;

#[test]
fn what_is_written_through_a_table_is_gathered_in_order() {
    let card = tiny_card();
    let (kv, d) = (card.kv_heads as usize, card.head_dim as usize);
    let mut pool = KvPool::new(&card, 5, 4);
    let table = [3, 0, 4];
    let token = |p: usize, sign: f32| -> Vec<f32> { (0..kv * d).map(|i| sign * (p * 1000 + i) as f32).collect() };
    for position in 0..10 {
        pool.layer_mut(1).write(&table, position, &token(position, 1.0), &token(position, -1.0));
    }
    let layer = pool.layer(1);
    for head in 0..kv {
        let (k, v) = (layer.gather(&layer.k, &table, head, 10), layer.gather(&layer.v, &table, head, 10));
        for position in 0..10 {
            assert_eq!(k[position * d..][..d], token(position, 1.0)[head * d..][..d]);
            assert_eq!(v[position * d..][..d], token(position, -1.0)[head * d..][..d]);
        }
    }
    assert!(pool.layer(0).k.iter().all(|x| x.is_nan()), "another layer was not touched");
}

#[test]
fn the_bytes_of_a_pool_are_those_it_holds() {
    let card = tiny_card();
    let pool = KvPool::new(&card, 7, 16);
    let held: usize = pool.layers.iter().map(|l| (l.k.len() + l.v.len()) * 4).sum();
    assert_eq!(KvPool::bytes(&card, 7, 16), held as u64);
}
