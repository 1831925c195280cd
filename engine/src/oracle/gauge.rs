//! What a card says of itself just now: load, clocks, heat, what holds its clocks back, which processes are on it.
//!
//! It does not know stages or leases. Whatever a card or its driver does not tell is `None`, never a guess.

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, Sampling, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;

/// The driver's library, open.
#[derive(Debug)]
pub struct Gauge {
    nvml: Nvml,
}

/// A card at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Share of the time since the last reading in which anything ran on it, 0 to 1.
    pub worked: Option<f64>,
    /// Clock of the multiprocessors, MHz.
    pub sm_mhz: Option<u32>,
    /// Clock of the memory, MHz.
    pub memory_mhz: Option<u32>,
    /// °C.
    pub temperature_c: Option<u32>,
    /// W.
    pub power_w: Option<f64>,
    /// What holds its clocks back, in words; empty = nothing.
    pub held_back: Option<Vec<&'static str>>,
    /// Numbers of the processes that compute on it.
    pub processes: Option<Vec<u32>>,
    /// Where the next reading goes on: µs, by the driver's clock.
    pub until_us: u64,
}

/// Reasons that come with the work itself (an idle card, a chosen clock, the card's own power limit), then those under
/// which a figure is not the card's own.
const REASONS: [(ThrottleReasons, &str, Weight); 8] = [
    (ThrottleReasons::GPU_IDLE, "idle", Weight::Usual),
    (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "application clocks", Weight::Usual),
    (ThrottleReasons::SW_POWER_CAP, "power limit", Weight::Usual),
    (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display clocks", Weight::Usual),
    (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown", Weight::Disturbs),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat (software)", Weight::Disturbs),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "heat (hardware)", Weight::Disturbs),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake", Weight::Disturbs),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Usual,
    Disturbs,
}

/// Whether a measurement under this reason is not the card's own.
pub fn disturbs(reason: &str) -> bool {
    REASONS.iter().any(|(_, word, weight)| *word == reason && *weight == Weight::Disturbs)
}

impl Gauge {
    /// Opens the driver's library, or `library` in its place.
    ///
    /// # Errors
    /// When there is none or it does not work, in words.
    pub(super) fn open(library: Option<&std::ffi::OsStr>) -> Result<Gauge, String> {
        // The plain name `libnvidia-ml.so` comes with development packages only.
        let path = library.unwrap_or("libnvidia-ml.so.1".as_ref());
        match Nvml::builder().lib_path(path).init() {
            Ok(nvml) => Ok(Gauge { nvml }),
            Err(nvml_wrapper::error::NvmlError::LibloadingError(_)) => Err("no NVIDIA driver".to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    pub(super) fn nvml(&self) -> &Nvml {
        &self.nvml
    }

    /// The card `uuid` now; its load since `since_us` (0: the last moment).
    pub fn read(&self, uuid: &str, since_us: u64) -> Reading {
        let Ok(device) = self.nvml.device_by_uuid(uuid) else { return Reading::default() };
        let (worked, until_us) = worked(&device, since_us);
        let held_back = device
            .current_throttle_reasons()
            .ok()
            .map(|now| REASONS.iter().filter(|(reason, ..)| now.contains(*reason)).map(|(_, word, _)| *word).collect());
        let processes = device.running_compute_processes().ok().map(|all| {
            let mut numbers: Vec<u32> = all.into_iter().map(|process| process.pid).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        });
        Reading {
            worked,
            sm_mhz: device.clock_info(Clock::SM).ok(),
            memory_mhz: device.clock_info(Clock::Memory).ok(),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            power_w: device.power_usage().ok().map(|mw| f64::from(mw) / 1000.0),
            held_back,
            processes,
            until_us,
        }
    }
}

/// The load of a card: from the samples that the driver took since `since_us`, or where it keeps none, of its last
/// period (a sixth of a second to one second).
fn worked(device: &nvml_wrapper::Device<'_>, since_us: u64) -> (Option<f64>, u64) {
    if let Ok(samples) = device.samples(Sampling::GpuUtilization, since_us) {
        let percent = |value: &SampleValue| match value {
            SampleValue::F64(v) => *v,
            SampleValue::U32(v) => f64::from(*v),
            SampleValue::U64(v) => *v as f64,
            SampleValue::I64(v) => *v as f64,
        };
        let new: Vec<f64> =
            samples.iter().filter(|s| s.timestamp > since_us).map(|sample| percent(&sample.value) / 100.0).collect();
        if let Some(latest) = samples.iter().map(|s| s.timestamp).max().filter(|_| !new.is_empty()) {
            // Before there was a last reading, only the latest sample is of now.
            let worked = match since_us {
                0 => new.last().copied(),
                _ => Some(new.iter().sum::<f64>() / new.len() as f64),
            };
            return (worked, latest);
        }
        // Nothing new yet: it is not said twice.
        if since_us > 0 {
            return (None, since_us);
        }
    }
    (device.utilization_rates().ok().map(|now| f64::from(now.gpu) / 100.0), since_us)
}
