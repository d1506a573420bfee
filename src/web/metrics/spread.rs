//! How observations lie: how many fell below each bound, and their sum.

/// Observations in buckets. Bounds are fixed when it is made and grow from one to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    bounds: &'static [f64],
    /// One more than bounds: what is above the last one.
    counts: Vec<u64>,
    sum: f64,
}

impl Spread {
    /// Nothing observed yet; bounds in seconds.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds an observation, in seconds.
    pub fn add(&mut self, seconds: f64) {
        let place = self.bounds.iter().position(|bound| seconds <= *bound);
        if let Some(count) = self.counts.get_mut(place.unwrap_or(self.bounds.len())) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they add up to.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.sum
    }

    /// Each bound with the number of observations that are in its bucket alone; the last bound is infinite.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let mut spread = Spread::new(&[1.0, 10.0]);
        for seconds in [0.5, 1.0, 1.5, 99.0] {
            spread.add(seconds);
        }
        assert_eq!(spread.buckets(), [(1.0, 2), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((spread.count(), spread.seconds()), (4, 102.0));
    }
}
