//! What must hold before anything runs: names that exist, needs that this machine can meet.

use super::{Oracle, Request, RunError};
use crate::graph::Feed;

/// Which stages the run wants: the targets and all that they hang on.
pub(super) fn wanted(request: &Request<'_>) -> Result<Vec<bool>, RunError> {
    let stages = &request.pipeline.stages;
    let index = |name: &String| {
        let missing = || RunError::NoStage { name: name.clone(), pipeline: request.pipeline.name.clone() };
        stages.iter().position(|stage| &stage.name == name).ok_or_else(missing)
    };
    for name in request.again.iter().chain(request.trust_code) {
        index(name)?;
    }
    let mut wanted = vec![request.targets.is_empty(); stages.len()];
    for name in request.targets {
        wanted[index(name)?] = true;
    }
    // Producers stand before what takes from them.
    for (at, stage) in stages.iter().enumerate().rev() {
        if wanted[at] {
            for feed in stage.inputs.iter().flat_map(|wire| &wire.from) {
                if let Feed::Output { stage, .. } = feed {
                    wanted[stage.index()] = true;
                }
            }
        }
    }
    Ok(wanted)
}

/// Whether this machine can do what is wanted. A card is asked for here only by a stage whose key tells of it; any
/// other may be a hit without one.
pub(super) fn possible(request: &Request<'_>, wanted: &[bool]) -> Result<(), RunError> {
    for (stage, _) in request.pipeline.stages.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        if stage.policy.launcher != "local" {
            let (stage, launcher) = (stage.name.clone(), stage.policy.launcher.clone());
            return Err(RunError::NoLauncher { stage, launcher });
        }
        let needs = &stage.contract.needs;
        let host = request.facts.host();
        let too_large = |needs: String, has: String| RunError::TooLarge { stage: stage.name.clone(), needs, has };
        if needs.cpus > host.cores {
            return Err(too_large(format!("{} cpus", needs.cpus), format!("{}", host.cores)));
        }
        if host.memory_mib > 0 && needs.memory_mib > host.memory_mib {
            return Err(too_large(format!("{} MiB", needs.memory_mib), format!("{} MiB", host.memory_mib)));
        }
        let keyed = stage.contract.oracles.iter().any(|oracle| matches!(oracle, Oracle::Gpu | Oracle::Driver));
        if keyed && let Err(absent) = request.facts.eligible(needs) {
            let (declared, found) = (absent.declared, absent.found);
            return Err(RunError::NoCard { stage: stage.name.clone(), declared, found });
        }
    }
    Ok(())
}
