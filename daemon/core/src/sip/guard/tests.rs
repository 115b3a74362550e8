use super::*;

const BOTH: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];
const URI: &str = "sip:192.0.2.1";

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

fn nonce_of(challenge: &str) -> String {
    let (_, rest) = challenge.split_once("nonce=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// An answer as a telephone makes it.
fn answer(algorithm: Algorithm, nonce: &str, nc: u32, password: &str) -> String {
    let ha1 = hash(algorithm, &format!("ada:helpline:{password}"));
    let ha2 = hash(algorithm, &format!("REGISTER:{URI}"));
    let response = hash(
        algorithm,
        &format!("{ha1}:{nonce}:{nc:08x}:0a4f113b:auth:{ha2}"),
    );
    format!(
        "Digest username=\"ada\", realm=\"helpline\", nonce=\"{nonce}\", uri=\"{URI}\", \
         response=\"{response}\", algorithm={}, cnonce=\"0a4f113b\", qop=auth, nc={nc:08x}",
        algorithm.wire()
    )
}

struct Desk {
    guard: Guard,
    ha1: Ha1,
}

impl Desk {
    fn new() -> Self {
        Desk {
            guard: Guard::new("helpline", [3; 32], BOTH.to_vec()),
            ha1: Ha1::new("ada", "helpline", "secret"),
        }
    }

    fn judge(&mut self, seconds: u64, authorization: &str) -> Proof {
        let ha1 = &self.ha1;
        let known = |user: &str| (user == "ada").then_some(ha1);
        self.guard
            .judge(at(seconds), ("REGISTER", URI), authorization, known)
    }

    fn nonce(&self, seconds: u64) -> String {
        nonce_of(&self.guard.challenges(at(seconds), 5, false)[0])
    }
}

#[test]
fn the_hashes_are_those_of_the_rfc() {
    // RFC 7616 section 3.9.1, with its own user, realm, nonces and password.
    let (user, realm, password) = ("Mufasa", "http-auth@example.org", "Circle of Life");
    let ha1 = Ha1::new(user, realm, password);
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    for (algorithm, want) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            Algorithm::Sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let ha2 = hash(algorithm, "GET:/dir/index.html");
        let secret = ha1.of(algorithm);
        let text = format!("{secret}:{nonce}:00000001:{cnonce}:auth:{ha2}");
        assert_eq!(hash(algorithm, &text), want);
    }
}

#[test]
fn the_right_password_holds_in_both_algorithms_and_a_wrong_one_does_not() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut desk = Desk::new();
        let nonce = desk.nonce(0);
        let right = answer(algorithm, &nonce, 1, "secret");
        assert_eq!(desk.judge(1, &right), Proof::Holds("ada".into()));
        let wrong = answer(algorithm, &nonce, 2, "guess");
        assert_eq!(desk.judge(1, &wrong), Proof::Fails);
        let other = right.replace("\"ada\"", "\"eve\"");
        assert_eq!(desk.judge(1, &other), Proof::Fails);
    }
}

#[test]
fn a_proof_holds_once_and_counts_may_come_out_of_order() {
    let mut desk = Desk::new();
    let nonce = desk.nonce(0);
    for (nc, want) in [
        (1, true),
        (1, false),
        (10, true),
        (9, true),
        (9, false),
        (0x100, true),
        (0xc1, true),
        (0xc0, false), // 64 behind: nobody can tell
        (0, false),
        (u32::MAX, true),
    ] {
        let proof = desk.judge(1, &answer(Algorithm::Sha256, &nonce, nc, "secret"));
        let holds = proof == Proof::Holds("ada".into());
        assert_eq!(holds, want, "{nc:x} {proof:?}");
    }
}

#[test]
fn old_foreign_and_forged_nonces_are_stale() {
    let mut desk = Desk::new();
    let nonce = desk.nonce(0);
    let proof = |n: &str, nc| answer(Algorithm::Md5, n, nc, "secret");
    assert_eq!(
        desk.judge(120, &proof(&nonce, 1)),
        Proof::Holds("ada".into())
    );
    assert_eq!(desk.judge(121, &proof(&nonce, 2)), Proof::Stale);
    assert!(!desk.guard.is_fresh(at(121), &proof(&nonce, 2)));
    let foreign =
        nonce_of(&Guard::new("helpline", [4; 32], BOTH.to_vec()).challenges(at(0), 5, false)[0]);
    let elsewhere =
        nonce_of(&Guard::new("other", [3; 32], BOTH.to_vec()).challenges(at(0), 5, false)[0]);
    for forged in [&foreign, &elsewhere, "", "AAAA", &nonce[1..]] {
        assert_eq!(desk.judge(1, &proof(forged, 1)), Proof::Stale, "{forged}");
        assert!(!desk.guard.is_fresh(at(1), &proof(forged, 1)));
    }
}

#[test]
fn a_proof_of_another_request_or_a_malformed_one_fails() {
    let mut desk = Desk::new();
    let nonce = desk.nonce(0);
    let good = answer(Algorithm::Sha256, &nonce, 1, "secret");
    for (from, to) in [
        ("uri=\"sip:192.0.2.1\"", "uri=\"sip:192.0.2.2\""),
        ("realm=\"helpline\"", "realm=\"other\""),
        ("qop=auth", "qop=auth-int"),
        ("qop=auth,", ""),
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=0000000g"),
        ("nc=00000001", "nc=+0000001"),
        ("algorithm=SHA-256", "algorithm=SHA-512"),
        ("algorithm=SHA-256", "algorithm=MD5"),
        ("response=\"", "response=\"0"),
        ("response=", "rspns="),
        ("Digest", "Basic"),
        ("username=\"ada\"", "username=\"\""),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        assert_eq!(desk.judge(1, &bad), Proof::Fails, "{from} -> {to}");
    }
    assert_eq!(desk.judge(1, &good), Proof::Holds("ada".into()));
}

#[test]
fn five_failures_a_minute_are_silenced_for_a_minute() {
    let mut desk = Desk::new();
    let (eve, ada) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    for n in 0..5 {
        assert!(!desk.guard.is_silenced(at(n), eve));
        desk.guard.failed(at(n), eve);
    }
    assert!(desk.guard.is_silenced(at(4), eve));
    assert!(!desk.guard.is_silenced(at(4), ada));
    assert!(desk.guard.is_silenced(at(59), eve));
    assert!(!desk.guard.is_silenced(at(61), eve));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut desk = Desk::new();
    for n in 0..10_000u32 {
        desk.guard.failed(at(1), IpAddr::from(n.to_be_bytes()));
        let nonce = nonce_of(&desk.guard.challenges(at(1), n.into(), false)[0]);
        desk.judge(1, &answer(Algorithm::Md5, &nonce, 1, "secret"));
    }
    assert!(desk.guard.failures.len() <= KEPT_MAX);
    assert!(desk.guard.counts.len() <= KEPT_MAX);
    // After a while there is room again.
    let nonce = desk.nonce(200);
    let proof = answer(Algorithm::Md5, &nonce, 1, "secret");
    assert_eq!(desk.judge(200, &proof), Proof::Holds("ada".into()));
}

#[test]
fn an_algorithm_that_was_not_offered_is_not_accepted() {
    let mut desk = Desk::new();
    desk.guard = Guard::new("helpline", [3; 32], vec![Algorithm::Sha256]);
    let nonce = desk.nonce(0);
    let weak = answer(Algorithm::Md5, &nonce, 1, "secret");
    assert_eq!(desk.judge(1, &weak), Proof::Fails);
    let strong = answer(Algorithm::Sha256, &nonce, 1, "secret");
    assert_eq!(desk.judge(1, &strong), Proof::Holds("ada".into()));
}
