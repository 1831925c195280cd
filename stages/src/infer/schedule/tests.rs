use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::infer::serve::Slice;
use crate::infer::time::Nanos;

/// What a driver can do to a scheduler.
#[derive(Debug, Clone)]
enum Act {
    /// A request comes; `in_flight`: while the next batch is.
    Admit {
        prompt: u32,
        output: u32,
        priority: i32,
        in_flight: bool,
    },
    Step,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let admit = (1u32..40, 1u32..50, -1i32..2, any::<bool>())
        .prop_map(|(prompt, output, priority, in_flight)| Act::Admit { prompt, output, priority, in_flight });
    prop::collection::vec(prop_oneof![1 => admit, 6 => Just(Act::Step)], 1..250)
}

fn knobs() -> impl Strategy<Value = Knobs> {
    static POLICIES: [Policy; 5] =
        [Policy::Sarathi, Policy::VllmV1, Policy::Vllm, Policy::Orca, Policy::FasterTransformer];
    (prop::sample::select(&POLICIES[..]), 16u32..100, 1u32..9, 1u32..6, 20u32..60).prop_map(
        |(policy, max_batched_tokens, max_sequences, block_tokens, kv_blocks)| Knobs {
            policy,
            max_batched_tokens,
            max_sequences,
            block_tokens,
            kv_blocks,
            max_sequence_tokens: Some(90.min(kv_blocks * block_tokens)),
            ..Knobs::default()
        },
    )
}

/// Drives a scheduler; before each batch `forget` may spoil its short way.
struct Play {
    scheduler: Scheduler,
    forget: fn(&mut Scheduler),
    late: Vec<Request>,
    ids: u32,
    played: Vec<(Vec<Slice>, Census)>,
}

impl Play {
    /// Plays `acts` and then runs dry; gives each batch with its census.
    fn of(acts: &[Act], scheduler: Scheduler, forget: fn(&mut Scheduler)) -> Vec<(Vec<Slice>, Census)> {
        let mut play = Play { scheduler, forget, late: Vec::new(), ids: 0, played: Vec::new() };
        for act in acts {
            match act {
                Act::Step => {
                    play.step();
                }
                Act::Admit { prompt, output, priority, in_flight } => {
                    let request = play.request(*prompt, *output, *priority);
                    if *in_flight { play.late.push(request) } else { play.admit(&request) }
                }
            }
        }
        while play.step() {}
        assert!(play.scheduler.is_idle(), "{}", play.scheduler.explain());
        play.played
    }

    fn request(&mut self, prompt_tokens: u32, output_tokens: u32, priority: i32) -> Request {
        self.ids += 1;
        Request {
            id: self.ids,
            arrival: Nanos(u64::from(self.ids)),
            prompt_tokens,
            output_tokens,
            prompt: Arc::default(),
            prefix_blocks: Arc::default(),
            priority,
        }
    }

    fn admit(&mut self, request: &Request) {
        // Refused ones leave no trace.
        let _ = self.scheduler.admit(request, 0);
    }

    /// One batch from its forming to its end; late requests come in between. `false` when nothing can run.
    fn step(&mut self) -> bool {
        (self.forget)(&mut self.scheduler);
        let mut batch = Batch::default();
        let census = self.scheduler.next(&mut batch);
        for request in std::mem::take(&mut self.late) {
            self.admit(&request);
        }
        let Some(census) = census else { return self.scheduler.waiting() > 0 && self.scheduler.running() == 0 };
        self.played.push((batch.slices.clone(), census));
        self.scheduler.finish(&batch, &mut Vec::new());
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_short_way_gives_the_batches_of_the_long_way(acts in acts(), knobs in knobs(), vidur in any::<bool>()) {
        prop_assert_eq!(knobs.check(), Ok(()));
        // Static batching gives memory back only in part under Vidur's law, and vLLM V1 is not among Vidur's.
        let vidur = vidur && !matches!(knobs.policy, Policy::FasterTransformer | Policy::VllmV1);
        let law = if vidur { Law::Vidur } else { Law::Plain };
        let scheduler = || {
            Scheduler::with_limits(knobs.policy, Limits { law, ..Limits::of(&knobs) }, Tabled::Counted)
        };
        let short = Play::of(&acts, scheduler(), |_| {});
        let long = Play::of(&acts, scheduler(), |s| s.steady.disarm());
        prop_assert_eq!(short, long);
    }
}

#[test]
fn decodes_that_repeat_take_the_short_way() {
    let mut scheduler = Scheduler::new(&Knobs::default(), Tabled::Counted);
    scheduler.admit_unchecked(0, 0, 4, 40);
    let (mut batch, mut complete, mut repeated) = (Batch::default(), Vec::new(), 0);
    while scheduler.next(&mut batch).is_some() {
        repeated += u32::from(scheduler.steady.is_out());
        scheduler.finish(&batch, &mut complete);
    }
    // All but the prefill, the decode that shows what repeats, and the one that completes.
    assert_eq!((repeated, complete), (37, vec![0]));
}

#[test]
fn a_state_in_which_nothing_can_run_is_explained() {
    let mut scheduler = Scheduler::new(&Knobs { kv_blocks: 2, ..Knobs::default() }, Tabled::Counted);
    scheduler.admit_unchecked(7, 0, 100, 1);
    assert!(scheduler.next(&mut Batch::default()).is_none());
    assert_eq!(
        scheduler.explain(),
        "1 requests wait, 0 sequences hold 0 of 2 KV blocks; request 7 is first and needs 7 blocks for 100 tokens \
         above a watermark of 0"
    );
}
