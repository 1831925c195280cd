use super::*;
use crate::infer::serve::Sequences as _;
use crate::infer::time::Nanos;

fn request(id: u32, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request {
        id,
        arrival: Nanos(0),
        prompt_tokens,
        output_tokens,
        prompt: [].into(),
        prefix_blocks: [].into(),
        priority: 0,
    }
}

#[test]
fn the_shapes_are_those_that_can_come_and_fit_into_the_pool() {
    let requests = [request(0, 100, 20), request(1, 7, 60), request(2, 9, 1)];
    let knobs = Knobs { max_batched_tokens: 64, max_sequences: 8, block_tokens: 16, kv_blocks: 24, ..Knobs::default() };
    let batches = batches(&knobs, &requests);
    let chunks: Vec<u32> = batches.iter().filter(|b| b.slices[0].context == 0).map(|b| b.slices[0].tokens).collect();
    assert_eq!(chunks, [64, 32, 16, 8, 4, 2, 1]);
    let decodes: Vec<(usize, u32)> =
        batches.iter().filter(|b| b.slices[0].context > 0).map(|b| (b.slices.len(), b.slices[0].context)).collect();
    // Three requests; three of them share 24 blocks of 16, so that none is longer than 128.
    assert_eq!(decodes, [(3, 127), (1, 130)]);
    let rehearsal = Rehearsal::new(&knobs);
    for batch in &batches {
        let scene = rehearsal.scene(batch);
        for slice in &batch.slices {
            assert!(scene.blocks(slice.seq).len() as u32 * 16 >= slice.context + slice.tokens);
            assert_eq!(scene.token_ids(slice.seq).len(), slice.tokens as usize);
        }
    }
}
