//! The immutable set of flows and locales a daemon runs: read, checked, hashed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use super::fault::{Fault, Severity};
use super::fault::{Place, Report};
use super::lint;
use super::machine::REVIEW_CLIP;
use super::model::{Act, Decl, Flow, Item, Kind, Named, Node, Role, What, all_codes};
use super::raw;
use super::read;
use super::say::{Locale, pieces};

/// A file: its name for faults, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name printed in faults, `ivr-scripts/main-menu.flow.yaml`.
    pub file: String,
    /// What it holds.
    pub text: String,
}

/// The files of one locale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocaleSource {
    /// `en-US`.
    pub locale: String,
    /// `manifest.toml`: clips and sentences.
    pub manifest: Source,
    /// `rules.toml`: how values are read.
    pub rules: Source,
}

/// What is configured outside the flows. `None`: not known, so flows are not checked
/// against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Names of queues.
    pub queues: Option<BTreeSet<String>>,
    /// Names of mailboxes.
    pub mailboxes: Option<BTreeSet<String>>,
    /// Names of opening hours.
    pub calendars: Option<BTreeSet<String>>,
    /// Names that `env` has.
    pub env: Option<BTreeSet<String>>,
    /// Hosts that flows may send requests to.
    pub hosts: Option<BTreeSet<String>>,
    /// Flows that answer calls.
    pub starts: Option<BTreeSet<String>>,
    /// Sound files beside the locales, without their endings: `hold/default`.
    pub files: Option<BTreeSet<String>>,
}

/// All flows and locales, checked together; calls keep the set they began with.
#[derive(Debug)]
pub struct FlowSet {
    flows: BTreeMap<String, Arc<Flow>>,
    locales: BTreeMap<String, Locale>,
    clips: BTreeSet<String>,
    hash: String,
    reads_queues: bool,
}

impl FlowSet {
    /// Reads and checks everything. The set is there if no fault is an error; faults
    /// come in the order of files and lines.
    #[must_use]
    pub fn load(flows: &[Source], locales: &[LocaleSource]) -> (Option<FlowSet>, Vec<Fault>) {
        FlowSet::load_for(flows, locales, &Known::default())
    }

    /// The same, checked against what is configured.
    #[must_use]
    pub fn load_for(
        flows: &[Source],
        locales: &[LocaleSource],
        known: &Known,
    ) -> (Option<FlowSet>, Vec<Fault>) {
        let mut report = Report::default();
        let mut set = FlowSet {
            flows: BTreeMap::new(),
            locales: BTreeMap::new(),
            clips: BTreeSet::new(),
            hash: hash(flows, locales),
            reads_queues: false,
        };
        for source in locales {
            if let Some(locale) = Locale::read(source, &mut report) {
                set.locales.insert(source.locale.clone(), locale);
            }
        }
        // A file that cannot be read hides its names: calls of it are no further faults.
        let mut unread = BTreeSet::new();
        for source in flows {
            lint::lost_keys(&source.file, &source.text, &mut report);
            match read_file(source, &mut report) {
                Some(flow) => set.add(flow, &mut report),
                None => {
                    unread.insert(stem(&source.file).to_owned());
                }
            }
        }
        lint::check(&set.flows, &set.locales, &unread, known, &mut report);
        if report.has_errors() {
            return (None, report.into_faults());
        }
        set.clips = set.needed_clips();
        let codes = set.flows.values().flat_map(|flow| all_codes(flow));
        set.reads_queues = codes.into_iter().any(|c| c.expr.names().contains("queues"));
        (Some(set), report.into_faults())
    }

    fn add(&mut self, flow: Flow, report: &mut Report) {
        let top = Place { line: 1, column: 1 };
        if stem(&flow.file) != flow.id {
            let want = format!("{}.flow.yaml", flow.id);
            report.add(
                &flow.file,
                top,
                "E002",
                format!(
                    "the id is \"{}\", so the file must be named {want}",
                    flow.id
                ),
            );
        }
        if let Some(other) = self.flows.get(&flow.id) {
            report.add(
                &flow.file,
                top,
                "E002",
                format!("{} has the id \"{}\" as well", other.file, flow.id),
            );
        }
        self.flows.insert(flow.id.clone(), Arc::new(flow));
    }

    /// Names of all flows, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.flows.keys().map(String::as_str)
    }

    /// Whether there is a flow of that name.
    #[must_use]
    pub fn has(&self, flow: &str) -> bool {
        self.flows.contains_key(flow)
    }

    /// A sample of each value that a flow's input declares; nothing if there is no such flow.
    /// A timestamp is seven minutes ago, as golden tests write it.
    #[must_use]
    pub fn sample_input(&self, flow: &str) -> serde_json::Map<String, serde_json::Value> {
        let decls = self.flow(flow).into_iter().flat_map(|flow| &flow.decls);
        let inputs = decls.filter(|(_, decl)| decl.role == Role::Input && decl.default.is_none());
        let value = |decl: &Decl| match decl.kind {
            Kind::Map => {
                let fields = decl.fields.iter();
                fields
                    .map(|(name, kind)| (name.clone(), sample(*kind)))
                    .collect()
            }
            kind => sample(kind),
        };
        inputs
            .map(|(name, decl)| (name.clone(), value(decl)))
            .collect()
    }

    /// Every clip the flows may play, as `LOCALE/ID`, and every sound file, sorted.
    #[must_use]
    pub fn clips(&self) -> &BTreeSet<String> {
        &self.clips
    }

    /// Puts a sample in place of each value that some flow takes as a secret; whether there
    /// was one. A help channel gets the same values as the flow before it.
    pub(super) fn hide_secrets(
        &self,
        input: &mut serde_json::Map<String, serde_json::Value>,
    ) -> bool {
        let mut hidden = false;
        for (id, flow) in &self.flows {
            let is_secret = |name: &String| flow.decls.get(name).is_some_and(|d| d.secret);
            let names: Vec<String> = input
                .keys()
                .filter(|name| is_secret(name))
                .cloned()
                .collect();
            let mut samples = self.sample_input(id);
            for name in names {
                input.remove(&name);
                input.extend(samples.remove_entry(&name));
                hidden = true;
            }
        }
        hidden
    }

    /// Whether a flow reads `queues`.
    #[must_use]
    pub fn reads_queues(&self) -> bool {
        self.reads_queues
    }

    /// SHA-256 over all files, hex: names the set in traces and logs.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn flow(&self, name: &str) -> Option<&Arc<Flow>> {
        self.flows.get(name)
    }

    pub(super) fn locale(&self, name: &str) -> Option<&Locale> {
        self.locales.get(name)
    }

    fn needed_clips(&self) -> BTreeSet<String> {
        let mut clips = BTreeSet::new();
        for flow in self.flows.values() {
            clips.extend(files(flow).into_iter().map(|file| file.name.clone()));
            for (name, _) in &flow.locales {
                if let Some(locale) = self.locales.get(name) {
                    let of = flow_clips(flow, locale);
                    clips.extend(of.into_iter().map(|id| format!("{name}/{id}")));
                }
            }
        }
        clips
    }
}

fn sample(kind: Kind) -> serde_json::Value {
    match kind {
        Kind::String | Kind::Any => "sample".into(),
        Kind::Int | Kind::Number => 1.into(),
        Kind::Bool => true.into(),
        Kind::Duration => "1m".into(),
        Kind::Timestamp => "-7m".into(),
        Kind::Map => serde_json::Map::new().into(),
        Kind::List => Vec::<serde_json::Value>::new().into(),
    }
}

/// The shape of a file alone, without the set around it: faults `E001` and `E002`.
/// Editors and tests compare this with `schemas/ivr-flow.json`.
#[must_use]
pub fn shape_faults(source: &Source) -> Vec<Fault> {
    let mut report = Report::default();
    let _flow = read_file(source, &mut report); // only its faults are asked for
    let mut faults = report.into_faults();
    faults.retain(|f| matches!(f.code, "E001" | "E002"));
    faults
}

/// A flow file as JSON, read under the same strict rules of YAML.
///
/// # Errors
/// The `E001` fault.
pub fn to_json(source: &Source) -> Result<serde_json::Value, Fault> {
    raw::to_json(&source.text).map_err(|e| Fault {
        file: source.file.clone(),
        line: e.at.line,
        column: e.at.column,
        code: e.code,
        severity: Severity::Error,
        message: e.message,
    })
}

fn read_file(source: &Source, report: &mut Report) -> Option<Flow> {
    match raw::read(&source.text) {
        Ok(raw) => read::flow(&source.file, &raw, report),
        Err(e) => {
            report.add(&source.file, e.at, e.code, e.message);
            None
        }
    }
}

/// `a/main-menu.flow.yaml` is `main-menu`.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.strip_suffix(".flow.yaml").unwrap_or(name)
}

/// Items of a flow with the node they belong to.
pub(super) fn all_items(flow: &Flow) -> Vec<&Item> {
    let mut items: Vec<&Item> = Vec::new();
    for node in &flow.nodes {
        items.extend(node.says().into_iter().flatten());
        for (_, exit) in node.exits() {
            items.extend(&exit.say);
        }
    }
    for exit in flow.events.values() {
        items.extend(&exit.say);
    }
    items
}

/// The sound files a flow plays besides its recordings.
pub(super) fn files(flow: &Flow) -> Vec<&Named> {
    let music = flow.nodes.iter().filter_map(|node| match &node.act {
        Act::Enqueue { music, .. } | Act::Wait { music, .. } => music.as_ref(),
        _ => None,
    });
    let said = all_items(flow)
        .into_iter()
        .filter_map(|item| match &item.what {
            What::File(file) => Some(file),
            _ => None,
        });
    music.chain(said).collect()
}

/// Nodes in which a caller may hear his message again.
pub(super) fn reviews(flow: &Flow) -> impl Iterator<Item = &Node> {
    flow.nodes.iter().filter(|node| match &node.act {
        Act::Record { taking, .. } | Act::Voicemail { taking, .. } => taking.review,
        _ => false,
    })
}

/// Every clip a flow may play in a locale.
fn flow_clips(flow: &Flow, locale: &Locale) -> BTreeSet<String> {
    let mut clips = BTreeSet::new();
    if reviews(flow).next().is_some() {
        clips.insert(REVIEW_CLIP.to_owned());
    }
    for item in all_items(flow) {
        match &item.what {
            What::Prompt { id, .. } => {
                if let Some(sentence) = locale.phrases.get(id) {
                    for part in pieces(id, sentence) {
                        if let super::say::SentencePart::Clip(clip, _) = part {
                            clips.insert(clip);
                        }
                    }
                }
                for (read_as, _) in flow.prompts.get(id).iter().flat_map(|p| p.slots.values()) {
                    clips.extend(locale.rules.clips(read_as));
                }
            }
            What::Value(read_as, _) => clips.extend(locale.rules.clips(read_as)),
            What::File(_) | What::Tts(_) | What::Pause(_) | What::Tone(_) => {}
        }
    }
    clips
}

/// Length-prefixed, so that no two sets of files look alike.
fn hash(flows: &[Source], locales: &[LocaleSource]) -> String {
    let mut all: Vec<(&str, &str)> = flows
        .iter()
        .map(|s| (s.file.as_str(), s.text.as_str()))
        .collect();
    for locale in locales {
        all.push((&locale.manifest.file, &locale.manifest.text));
        all.push((&locale.rules.file, &locale.rules.text));
    }
    all.sort_unstable();
    let mut sha = Sha256::new();
    for (file, text) in all {
        for part in [file, text] {
            sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            sha.update(part.as_bytes());
        }
    }
    data_encoding::HEXLOWER.encode(&sha.finalize())
}
