use super::super::sim::{Sim, shipped, start};

#[test]
fn smoke() {
    let mut sim = Sim::new(shipped(), start("callback-confirm"));
    sim.answers
        .push_back(super::super::sim::Answer::Joined("self-help"));
    sim.wait_ms(3000);
    sim.press("1");
    sim.finish();
    println!("{}\n{}", sim.trace(), sim.said());
}
