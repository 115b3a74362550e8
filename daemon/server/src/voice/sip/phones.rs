//! Agents' telephones: what they prove, where they are, and whether they still answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::sip::address::Address;
use helpline_core::sip::gate::Door;
use helpline_core::sip::guard::{Guard, Ha1, Proof};
use helpline_core::sip::registrar::{self, Binding, Outcome, Register, Registrar};
use rsipstack::sip::headers::make_header;
use rsipstack::sip::prelude::HeadersExt;
use rsipstack::sip::{Header, Headers, Method, Request, SipMessage, StatusCodeKind, Uri};
use rsipstack::transport::SipAddr;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::route::Route;
use super::stack::SipStack;
use crate::clock::Clock;

/// Realm of our challenges.
pub(in crate::voice) const REALM: &str = "helpline";
/// How often a registered telephone is asked whether it is there; this also keeps its NAT open.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// How long it has to answer.
const ASK_LIMIT: Duration = Duration::from_secs(4);
/// Unanswered questions after which it counts as gone.
const MISSES_MAX: u32 = 2;

/// All telephones of the configuration.
pub(in crate::voice) struct Phones {
    accounts: BTreeMap<String, Ha1>,
    state: Mutex<State>,
    clock: Clock,
}

struct State {
    guard: Guard,
    registrar: Registrar,
    rng: Rng,
    /// Proofs that failed since the start.
    failures: u64,
}

impl Phones {
    /// Of these accounts; `guard` asks them for proof.
    pub(in crate::voice) fn new(
        accounts: BTreeMap<String, Ha1>,
        guard: Guard,
        clock: Clock,
        rng: Rng,
    ) -> Self {
        Phones {
            accounts,
            state: Mutex::new(State {
                guard,
                registrar: Registrar::default(),
                rng,
                failures: 0,
            }),
            clock,
        }
    }

    /// Whether there is a telephone of that name.
    pub(in crate::voice) fn has(&self, user: &str) -> bool {
        self.accounts.contains_key(user)
    }

    /// Every telephone, and whether it is registered.
    pub(in crate::voice) fn all(&self) -> Vec<(String, bool)> {
        let names = self.accounts.keys();
        names
            .map(|name| (name.clone(), !self.places(name).is_empty()))
            .collect()
    }

    /// Proofs that failed since the start.
    pub(in crate::voice) fn failures(&self) -> u64 {
        self.state().failures
    }

    /// Where a telephone is registered, the latest place first.
    pub(in crate::voice) fn places(&self, user: &str) -> Vec<Binding> {
        self.state().registrar.bindings(self.clock.time(), user)
    }

    /// Lets the gate look through the door.
    pub(super) fn at_door<R>(&self, from: IpAddr, look: impl FnOnce(Door<'_>) -> R) -> R {
        let state = self.state();
        look(Door {
            guard: &state.guard,
            now: self.clock.time(),
            from,
        })
    }

    /// The user a request proves to come from.
    ///
    /// # Errors
    /// The challenges of a 401.
    pub(super) fn prove(&self, request: &Request, from: IpAddr) -> Result<String, Vec<Header>> {
        let now = self.clock.time();
        let state = &mut *self.state();
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let mut stale = false;
        // A client may answer both of our challenges.
        for proof in fields(&request.headers, "Authorization") {
            let known = |user: &str| self.accounts.get(user);
            match state.guard.judge(now, (&method, &uri), proof, known) {
                Proof::Holds(user) => return Ok(user),
                Proof::Stale => stale = true,
                Proof::Fails => {
                    state.guard.failed(now, from);
                    state.failures += 1;
                }
            }
        }
        let chance = state.rng.next_u64();
        let challenges = state.guard.challenges(now, chance, stale);
        let header = |text| make_header("WWW-Authenticate", text);
        Err(challenges.into_iter().map(header).collect())
    }

    /// Carries out the REGISTER of a proven user: status code and fields of the answer.
    pub(super) fn register(
        &self,
        request: &Request,
        user: &str,
        source: SocketAddr,
    ) -> (u16, Vec<Header>) {
        let headers = &request.headers;
        let first = |name| fields(headers, name).next();
        let wanted = first("To").and_then(Address::parse);
        if wanted.and_then(|to| to.user()) != Some(user) {
            return (403, Vec::new());
        }
        let cseq = request.cseq_header().and_then(|c| c.seq()).unwrap_or(0);
        let register = Register {
            contacts: fields(headers, "Contact").collect(),
            expires: first("Expires"),
            call_id: first("Call-ID").unwrap_or_default(),
            cseq,
            source,
            agent: first("User-Agent").unwrap_or_default(),
        };
        let now = self.clock.time();
        let state = &mut *self.state();
        let before = state.registrar.bindings(now, user).len();
        let outcome = state.registrar.register(now, user, &register);
        match outcome {
            Outcome::Bound(contacts) => {
                if before == 0 && !contacts.is_empty() {
                    tracing::info!(phone = user, "a telephone registered");
                } else if before > 0 && contacts.is_empty() {
                    tracing::info!(phone = user, "a telephone went away");
                }
                let header = |text| make_header("Contact", text);
                (200, contacts.into_iter().map(header).collect())
            }
            Outcome::TooBrief => {
                let least = registrar::EXPIRES.0.to_string();
                (423, vec![make_header("Min-Expires", least)])
            }
            Outcome::Malformed => (400, Vec::new()),
            Outcome::OutOfOrder => (500, Vec::new()),
        }
    }

    /// What a registered telephone says of its place is replaced by where it really is: it
    /// may sit behind a NAT and not know.
    pub(super) fn mend(&self, message: &mut SipMessage, from: &SipAddr) {
        let Ok(source) = from.get_socketaddr() else {
            return;
        };
        let headers = match message {
            // Its REGISTER is kept as it is: the Request-URI of calls comes from it.
            SipMessage::Request(request) if request.method == Method::Register => return,
            SipMessage::Request(request) => &mut request.headers,
            SipMessage::Response(response)
                if response.status_code.kind() == StatusCodeKind::Redirection =>
            {
                return;
            }
            SipMessage::Response(response) => &mut response.headers,
        };
        // Behind a proxy that stays in the path the Contact is the proxy's business.
        if fields(headers, "Record-Route").next().is_some()
            || !self.state().registrar.knows(self.clock.time(), source)
        {
            return;
        }
        for header in headers.iter_mut().filter(|h| h.name() == "Contact") {
            let uri = Address::parse(header.value()).and_then(|a| Uri::try_from(a.uri).ok());
            if let Some(mut uri) = uri {
                uri.host_with_port = source.into();
                *header = make_header("Contact", format!("<{uri}>"));
            }
        }
    }

    /// Asks every registered telephone from time to time, until `stop`.
    pub(in crate::voice) async fn watch(
        self: Arc<Self>,
        stack: Arc<SipStack>,
        stop: CancellationToken,
    ) {
        let mut misses: BTreeMap<(String, String), u32> = BTreeMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let places = self.state().registrar.all(self.clock.time());
            let mut now_missed = BTreeMap::new();
            for (user, place) in self.silent(&stack, places).await {
                let key = (user.clone(), place.contact.clone());
                let count = misses.get(&key).copied().unwrap_or(0) + 1;
                if count < MISSES_MAX {
                    now_missed.insert(key, count);
                    continue;
                }
                self.state().registrar.lost(&user, &place);
                tracing::warn!(phone = user, "a telephone answers no more");
            }
            misses = now_missed;
        }
    }

    /// Those of `places` that do not answer.
    async fn silent(
        &self,
        stack: &Arc<SipStack>,
        places: Vec<(String, Binding)>,
    ) -> Vec<(String, Binding)> {
        let (asked, silent) = (TaskTracker::new(), Arc::new(Mutex::new(Vec::new())));
        for (user, place) in places {
            let (stack, silent) = (Arc::clone(stack), Arc::clone(&silent));
            asked.spawn(async move {
                if !stack.probe(&Route::udp(place.source), ASK_LIMIT).await {
                    let mut silent = silent.lock().unwrap_or_else(PoisonError::into_inner);
                    silent.push((user, place));
                }
            });
        }
        asked.close();
        asked.wait().await;
        let mut silent = silent.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *silent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Values of all fields of that name (in its long form).
pub(super) fn fields<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = move |h: &&Header| h.name().eq_ignore_ascii_case(name);
    headers.iter().filter(named).map(Header::value)
}
