//! Flows and rules that were damaged at random are refused, and stop nothing.

use crate::ivr::flow::FlowSet;
use crate::ivr::sim;

/// Damage at random: the same seed damages alike.
fn damaged(text: &str, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(end.max(1)).unwrap()).unwrap()
    };
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=next(4) {
        let at = next(chars.len());
        let odd = "{}[]:,\"'#&*!|>-% \n\t0\u{0}\u{e9}\u{1f600}";
        match next(4) {
            0 => {
                chars.remove(at);
            }
            1 => chars.insert(at, odd.chars().nth(next(odd.chars().count())).unwrap()),
            2 => {
                let other = next(chars.len());
                chars.swap(at, other);
            }
            _ => {
                let end = (at + next(60)).min(chars.len());
                let part: Vec<char> = chars[at..end].to_vec();
                let to = next(chars.len());
                chars.splice(to..to, part);
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_files_are_faults_and_never_panics() {
    let locales = sim::shipped_locales();
    let mut refused = 0;
    for seed in 0..200 {
        let mut flows = sim::shipped_flows();
        let which = usize::try_from(seed % 3).unwrap();
        flows[which].text = damaged(&flows[which].text, seed);
        let (set, faults) = FlowSet::load(&flows, &locales);
        assert!(set.is_some() || !faults.is_empty());
        refused += usize::from(set.is_none());
    }
    assert!(refused > 100, "{refused}");
    for seed in 0..20 {
        let mut locales = sim::shipped_locales();
        locales[0].rules.text = damaged(&locales[0].rules.text, seed);
        let (set, faults) = FlowSet::load(&sim::shipped_flows(), &locales);
        assert!(set.is_some() || !faults.is_empty());
    }
}
