//! Erlang's queue-length formula with abandonment: with `n` ahead and `s` servers a wait is
//! the sum of exponential steps with the rates `s/h + i*theta` (`h` mean handling time,
//! `theta` withdrawals a waiting second, `i` those still ahead; Whitt 1999).

/// Median wait in seconds of whoever has `ahead` before him, by the gamma distribution with
/// the mean and the variance of the sum (Wilson and Hilferty 1931). `free` of the `servers`
/// are idle. `None` when nobody serves.
#[must_use]
pub fn queue_length(
    ahead: u32,
    servers: u32,
    free: u32,
    handling: f64,
    leaving: f64,
) -> Option<f64> {
    if servers == 0 || handling <= 0.0 {
        return None;
    }
    // Calls that have to end, or requests ahead that have to leave, before our turn.
    let steps = (ahead + 1).saturating_sub(free);
    let serve = f64::from(servers) / handling;
    let (mut mean, mut variance) = (0.0, 0.0);
    for still_ahead in 0..steps {
        let rate = serve + f64::from(still_ahead) * leaving.max(0.0);
        mean += 1.0 / rate;
        variance += 1.0 / (rate * rate);
    }
    if mean <= 0.0 {
        return Some(0.0);
    }
    let root: f64 = 1.0 - variance / (9.0 * mean * mean);
    Some(mean * root.max(0.0).powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_server_is_an_exponential_wait() {
        // Exact median of an exponential with mean 300 s: 207.9.
        let median = queue_length(0, 1, 0, 300.0, 0.0).unwrap();
        assert!((median - 207.9).abs() < 5.0, "{median}");
        assert_eq!(queue_length(1, 3, 2, 300.0, 0.0), Some(0.0));
        assert_eq!(queue_length(0, 0, 0, 300.0, 0.0), None);
    }

    #[test]
    fn more_ahead_wait_longer_and_more_servers_or_less_patience_shorten_it() {
        let median =
            |ahead, servers, leaving| queue_length(ahead, servers, 0, 300.0, leaving).unwrap();
        assert!(median(5, 2, 0.0) > median(4, 2, 0.0));
        assert!(median(5, 4, 0.0) < median(5, 2, 0.0));
        assert!(median(40, 2, 1.0 / 600.0) < median(40, 2, 0.0) / 2.0);
    }
}
