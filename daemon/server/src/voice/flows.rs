//! The flows and prompts of this daemon: those built in, and the operator's folders,
//! whose files replace built-in ones of the same name. A set is loaded whole; a reload
//! that finds a fault changes nothing, and calls keep the set they began with.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use helpline_core::ivr::flow::{Fault, FlowSet, Known, LocaleSource, Severity, Source};
use rust_embed::RustEmbed;

use super::prompts::PromptSource;
use crate::config;

/// Most files of a folder that are looked at.
const FILES_MAX: usize = 10_000;
/// Largest flow, manifest or rules file in bytes.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest recording in bytes.
const CLIP_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How flow files end.
pub(crate) const FLOW_ENDING: &str = ".flow.yaml";

#[derive(RustEmbed)]
#[folder = "../../ivr-scripts"]
struct BuiltInFlows;

#[derive(RustEmbed)]
#[folder = "../../prompts"]
struct BuiltInPrompts;

/// Where flows and prompts are, and what they are checked against.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The operator's folders.
    pub ivr: config::Ivr,
    /// What else is configured.
    pub known: Known,
}

impl Setting {
    /// As the configuration says.
    #[must_use]
    pub fn of(config: &config::Config) -> Setting {
        Setting {
            ivr: config.ivr.clone(),
            known: config.known(),
        }
    }
}

/// The flows in use.
#[derive(Debug)]
pub struct Flows {
    config: Setting,
    current: ArcSwap<FlowSet>,
    /// Why the last reload was refused; none if it was not.
    refused: ArcSwapOption<String>,
    refusals: AtomicU64,
}

impl Flows {
    /// Reads, checks and keeps all flows. Warnings are logged.
    ///
    /// # Errors
    /// Every fault, printed as `file:line:column: E101 ...`.
    pub fn load(config: &Setting) -> Result<Flows, Vec<String>> {
        Ok(Flows {
            config: config.clone(),
            current: ArcSwap::from_pointee(read(config)?),
            refused: ArcSwapOption::empty(),
            refusals: AtomicU64::new(0),
        })
    }

    /// The set a new call takes.
    #[must_use]
    pub fn current(&self) -> Arc<FlowSet> {
        self.current.load_full()
    }

    /// Reads everything anew. The set in use changes only if there is no error and `also`,
    /// which gets the new set and all recordings, agrees: what belongs to the flows is
    /// changed there.
    ///
    /// # Errors
    /// Every fault, printed; the old set stays.
    pub fn reload(
        &self,
        also: impl FnOnce(&FlowSet, Vec<PromptSource>) -> Result<(), Vec<String>>,
    ) -> Result<(), Vec<String>> {
        let reloaded = self.try_reload(also);
        let fault = reloaded.as_ref().err().map(|faults| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            Arc::new(faults.first().cloned().unwrap_or_default())
        });
        self.refused.store(fault);
        reloaded
    }

    /// Why the last reload was refused: its first fault.
    #[must_use]
    pub fn refused(&self) -> Option<Arc<String>> {
        self.refused.load_full()
    }

    /// Reloads that were refused since the start.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// The folders whose change may mean other flows or prompts.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let ivr = &self.config.ivr;
        ivr.flows.iter().chain(&ivr.prompts).cloned().collect()
    }

    fn try_reload(
        &self,
        also: impl FnOnce(&FlowSet, Vec<PromptSource>) -> Result<(), Vec<String>>,
    ) -> Result<(), Vec<String>> {
        let set = read(&self.config)?;
        let (sources, faults) = recordings(&self.config.ivr);
        if !faults.is_empty() {
            return Err(faults);
        }
        also(&set, sources)?;
        tracing::info!(flows.hash = set.hash(), "flows are reloaded");
        self.current.store(Arc::new(set));
        Ok(())
    }

    /// Every recording of every locale, for decoding at start. One that cannot be read
    /// any more is logged and left out: items that need it are skipped in calls.
    #[must_use]
    pub fn prompt_sources(&self) -> Vec<PromptSource> {
        let (sources, faults) = recordings(&self.config.ivr);
        for fault in faults {
            tracing::error!("{fault}");
        }
        sources
    }
}

/// Every recording of every locale, and what cannot be read.
fn recordings(config: &config::Ivr) -> (Vec<PromptSource>, Vec<String>) {
    let (mut sources, mut faults) = (Vec::new(), Vec::new());
    let locales = match locales(config) {
        Ok(locales) => locales,
        Err(fault) => return (sources, vec![fault]),
    };
    for locale in locales {
        for (id, file) in clip_files(&locale.manifest) {
            match clip(config, &locale.locale, &file) {
                Ok(bytes) => sources.push(PromptSource {
                    id: format!("{}/{id}", locale.locale),
                    name: format!("prompts/{}/{file}", locale.locale),
                    bytes,
                }),
                Err(why) => faults.push(format!("{}: clip {id}: {why}", locale.manifest.file)),
            }
        }
    }
    match sound_files(config) {
        Ok(files) => {
            for (id, (name, path)) in files {
                let bytes = match path {
                    Some(path) => bytes(&path, CLIP_BYTES_MAX).map(Cow::Owned),
                    None => built_in_prompt(&name),
                };
                match bytes {
                    Ok(bytes) => sources.push(PromptSource { id, name, bytes }),
                    Err(why) => faults.push(why),
                }
            }
        }
        Err(why) => faults.push(why),
    }
    (sources, faults)
}

fn built_in_prompt(name: &str) -> Result<Cow<'static, [u8]>, String> {
    let path = name.strip_prefix("prompts/").unwrap_or(name);
    let file = BuiltInPrompts::get(path).ok_or_else(|| format!("{name}: there is no such file"))?;
    Ok(file.data)
}

/// Reads and checks everything; warnings are logged, errors come back printed.
fn read(config: &Setting) -> Result<FlowSet, Vec<String>> {
    let (set, faults) = check(config).map_err(|fault| vec![fault])?;
    for fault in faults.iter().filter(|f| f.severity == Severity::Warning) {
        tracing::warn!("{fault}");
    }
    let set = set.ok_or_else(|| -> Vec<String> {
        let errors = faults.iter().filter(|f| f.severity == Severity::Error);
        errors.map(ToString::to_string).collect()
    })?;
    let (_, missing) = recordings(&config.ivr);
    if missing.is_empty() {
        Ok(set)
    } else {
        Err(missing)
    }
}

/// All flows and locales with every fault and warning.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn check(config: &Setting) -> Result<(Option<FlowSet>, Vec<Fault>), String> {
    check_with(config, &[])
}

/// The same with the flows of these files and folders on top.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn check_with(
    config: &Setting,
    paths: &[PathBuf],
) -> Result<(Option<FlowSet>, Vec<Fault>), String> {
    let ivr = &config.ivr;
    let known = Known {
        files: Some(sound_files(ivr)?.into_keys().collect()),
        ..config.known.clone()
    };
    let (flows, locales) = (flows(ivr, paths)?, locales(ivr)?);
    Ok(FlowSet::load_for(&flows, &locales, &known))
}

/// Sound files beside the locales: ids and where they are; `None` for built-in ones.
fn sound_files(
    config: &config::Ivr,
) -> Result<BTreeMap<String, (String, Option<PathBuf>)>, String> {
    let mut files = BTreeMap::new();
    let mut add = |name: &str, path: Option<PathBuf>| {
        if let Some((id, _)) = name.rsplit_once('.') {
            files.insert(id.to_owned(), (format!("prompts/{name}"), path));
        }
    };
    for name in BuiltInPrompts::iter() {
        let folder = name.split_once('/').map(|(folder, _)| folder);
        if folder.is_some_and(|folder| !is_locale(folder)) {
            add(&name, None);
        }
    }
    if let Some(own) = &config.prompts {
        for folder in names(own)? {
            let path = own.join(&folder);
            if path.is_dir() && !is_locale(&folder) {
                for name in names(&path)? {
                    add(&format!("{folder}/{name}"), Some(path.join(&name)));
                }
            }
        }
    }
    Ok(files)
}

/// `en-US`; other folders hold sound files.
fn is_locale(folder: &str) -> bool {
    folder.split_once('-').is_some_and(|(_, region)| {
        !region.is_empty() && region.bytes().all(|b| b.is_ascii_uppercase())
    })
}

/// Built-in flows, replaced and extended by the operator's, and those by `paths`.
fn flows(config: &config::Ivr, paths: &[PathBuf]) -> Result<Vec<Source>, String> {
    let mut files: BTreeMap<String, Source> = BTreeMap::new();
    for name in BuiltInFlows::iter() {
        // Tests and notes lie in the same folder.
        if !name.ends_with(FLOW_ENDING) || name.contains('/') {
            continue;
        }
        if let Some(file) = BuiltInFlows::get(&name) {
            let text = utf8(&file.data, &name)?;
            let source = Source {
                file: format!("ivr-scripts/{name}"),
                text,
            };
            files.insert(name.into_owned(), source);
        }
    }
    for path in config.flows.iter().chain(paths) {
        for path in flow_files(path)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let source = Source {
                file: path.display().to_string(),
                text: text(&path)?,
            };
            files.insert(name.into_owned(), source);
        }
    }
    Ok(files.into_values().collect())
}

/// The golden tests of the built-in flows.
pub(crate) fn built_in_tests() -> Vec<Source> {
    let tests = BuiltInFlows::iter().filter(|name| name.ends_with(".test.yaml"));
    tests
        .filter_map(|name| {
            let file = BuiltInFlows::get(&name)?;
            let file_name = format!("ivr-scripts/{name}");
            let text = utf8(&file.data, &file_name).ok()?;
            Some(Source {
                file: file_name,
                text,
            })
        })
        .collect()
}

/// The flow files of a folder, or the one file, whatever its name.
fn flow_files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let names = names(path)?.into_iter();
    let flows = names.filter(|name| name.ends_with(FLOW_ENDING));
    Ok(flows.map(|name| path.join(name)).collect())
}

/// Built-in locales, replaced and extended file by file.
fn locales(config: &config::Ivr) -> Result<Vec<LocaleSource>, String> {
    let mut names_of: BTreeSet<String> = BuiltInPrompts::iter()
        .filter_map(|path| path.split_once('/').map(|(locale, _)| locale.to_owned()))
        .filter(|folder| is_locale(folder))
        .collect();
    if let Some(folder) = &config.prompts {
        let own = names(folder)?;
        let is_own = |name: &String| is_locale(name) && folder.join(name).is_dir();
        names_of.extend(own.into_iter().filter(is_own));
    }
    let mut locales = Vec::new();
    for locale in names_of {
        let part = |file| locale_file(config, &locale, file);
        let (manifest, rules) = (part("manifest.toml")?, part("rules.toml")?);
        locales.push(LocaleSource {
            locale,
            manifest,
            rules,
        });
    }
    Ok(locales)
}

fn locale_file(config: &config::Ivr, locale: &str, file: &str) -> Result<Source, String> {
    if let Some(folder) = &config.prompts {
        let path = folder.join(locale).join(file);
        if path.exists() {
            return Ok(Source {
                file: path.display().to_string(),
                text: text(&path)?,
            });
        }
    }
    let name = format!("{locale}/{file}");
    let built_in = BuiltInPrompts::get(&name)
        .ok_or_else(|| format!("prompts/{name}: this locale has no {file}"))?;
    Ok(Source {
        text: utf8(&built_in.data, &name)?,
        file: format!("prompts/{name}"),
    })
}

/// Clip ids of a manifest and their files.
fn clip_files(manifest: &Source) -> Vec<(String, String)> {
    let Ok(table) = manifest.text.parse::<toml::Table>() else {
        return Vec::new(); // the checks of the set report it
    };
    let clips = table.get("clip").and_then(toml::Value::as_table);
    clips
        .into_iter()
        .flatten()
        .filter_map(|(id, clip)| Some((id.clone(), clip.get("file")?.as_str()?.to_owned())))
        .collect()
}

/// The bytes of a recording: the operator's, else the built-in one.
fn clip(config: &config::Ivr, locale: &str, file: &str) -> Result<Cow<'static, [u8]>, String> {
    // A manifest must not read files outside its folder.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
        return Err(format!("{file:?} is no plain file name"));
    }
    if let Some(folder) = &config.prompts {
        let path = folder.join(locale).join(file);
        if path.exists() {
            return bytes(&path, CLIP_BYTES_MAX).map(Cow::Owned);
        }
    }
    BuiltInPrompts::get(&format!("{locale}/{file}"))
        .map(|f| f.data)
        .ok_or_else(|| format!("there is no file {file}"))
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(FILES_MAX) {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn text(path: &Path) -> Result<String, String> {
    utf8(&bytes(path, TEXT_BYTES_MAX)?, &path.display().to_string())
}

fn bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > bytes_max {
        return Err(format!("{}: longer than {bytes_max} bytes", path.display()));
    }
    fs::read(path).map_err(failed)
}

fn utf8(bytes: &[u8], name: &str) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("{name}: not UTF-8 text"))
}

#[cfg(test)]
mod tests;
