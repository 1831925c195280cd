use super::*;
use crate::infer::record::{Recorder as _, RequestRow, TokenRow};
use crate::infer::time::Nanos;

fn request(id: u32, prompt: &[u32]) -> Request {
    Request {
        id,
        arrival: Nanos(0),
        prompt_tokens: prompt.len() as u32,
        output_tokens: 2,
        prompt: prompt.into(),
        prefix_blocks: [].into(),
        priority: 0,
    }
}

#[test]
fn the_sample_is_the_first_request_that_was_served() {
    let requests = [request(0, &[1]), request(1, &[4, 5, 6])];
    let mut run = Run::default();
    for (request_id, token_index, token_id) in [(1, 0, 70), (1, 1, 71)] {
        run.token(TokenRow { request_id, token_index, time: Nanos(1), batch_id: 0, token_id });
    }
    for (request_id, status) in [(0, Status::Refused), (1, Status::Ok)] {
        run.request(RequestRow {
            request_id,
            status,
            arrival: Nanos(0),
            sent: None,
            scheduled: None,
            first_token: None,
            completion: None,
            prompt_tokens: 1,
            output_tokens: 2,
            produced_tokens: 2,
            cached_tokens: 0,
            preemptions: 0,
            error: None,
        });
    }
    assert_eq!(ids(&requests, &run), "request 1\nprompt, 3 token ids\n4 5 6\noutput, 2 token ids\n70 71\n");
    assert_eq!(ids(&requests, &Run::default()), "no request was served\n");
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let many: Vec<u32> = (0..300).collect();
    assert!(listed(&many).ends_with("254 255 and 44 more"));
}
