//! What one input may cost. A parser that allocates by the sender's word, or works for ever, fails here.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use peak_alloc::PeakAlloc;

use crate::target::Target;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Processor time of one input, in a build without optimisation. libFuzzer's own limit on the wall's clock stops what
/// blocks.
const TIME: Duration = Duration::from_secs(3);

pub(crate) fn within(target: &Target, data: &[u8]) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let begun = processor_time();
    (target.run)(data);
    let took = processor_time().saturating_sub(begun);
    let most = target.base_bytes + data.len() * target.bytes_per_byte;
    let used = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        used <= most,
        "{} bytes of input allocated {used} bytes, {most} are allowed",
        data.len()
    );
    assert!(took <= TIME, "{} bytes of input took {took:?} of a processor", data.len());
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
