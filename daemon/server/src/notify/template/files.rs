//! Template files: those that came with the program, and those of the operator's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rust_embed::RustEmbed;

use super::KINDS;

/// Largest template file of an operator, in bytes.
const FILE_BYTES_MAX: u64 = 65_536;
/// The frame around every HTML mail.
const FRAME: &str = "mail.html.hbs";

#[derive(RustEmbed)]
#[folder = "../templates"]
struct BuiltIn;

/// Where a template comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// With the program.
    BuiltIn,
    /// The operator's, in place of a built-in one.
    Overridden(PathBuf),
    /// The operator's, in a language that is not built in.
    Added(PathBuf),
}

impl Origin {
    /// The word in listings.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Origin::BuiltIn => "built-in",
            Origin::Overridden(_) => "overridden",
            Origin::Added(_) => "added",
        }
    }
}

/// Which part of a mail a template makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Subject and plain text.
    Text,
    /// The same as HTML.
    Html,
}

impl Format {
    /// The word in file names and listings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Format::Text => "txt",
            Format::Html => "html",
        }
    }
}

/// A template as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFile {
    /// `KIND.LOCALE.txt.hbs`, `KIND.LOCALE.html.hbs` or `mail.html.hbs`.
    pub name: String,
    /// Which mail it is of; `mail` is the frame around all.
    pub kind: String,
    /// Its language; empty for the frame.
    pub locale: String,
    /// Which part it makes.
    pub format: Format,
    /// Whose it is.
    pub origin: Origin,
    /// Its text.
    pub source: String,
}

impl TemplateFile {
    fn new(name: &str, origin: Origin, source: String) -> Self {
        let mut parts = name.split('.');
        let kind = parts.next().unwrap_or_default().to_owned();
        let locale = match name == FRAME {
            true => "",
            false => parts.next().unwrap_or_default(),
        };
        TemplateFile {
            name: name.to_owned(),
            kind,
            locale: locale.to_owned(),
            format: match name.ends_with(".html.hbs") {
                true => Format::Html,
                false => Format::Text,
            },
            origin,
            source,
        }
    }

    /// Whether it is the frame around every HTML mail.
    #[must_use]
    pub fn is_frame(&self) -> bool {
        self.name == FRAME
    }

    /// The name others call it by.
    pub(super) fn registered_as(&self) -> &str {
        match self.is_frame() {
            true => "mail",
            false => &self.name,
        }
    }

    /// A fault with file and line.
    pub(super) fn fault(&self, line: usize, reason: impl Display) -> String {
        let file = match &self.origin {
            Origin::BuiltIn => self.name.clone(),
            Origin::Overridden(path) | Origin::Added(path) => path.display().to_string(),
        };
        format!("{file}:{line}: {reason}")
    }

    /// The name has to be `KIND.LOCALE.txt.hbs` or `.html.hbs`, else nobody would ever use it.
    pub(super) fn name_fault(&self) -> Option<String> {
        let parts: Vec<&str> = self.name.split('.').collect();
        let good = match parts.as_slice() {
            [kind, locale, "txt" | "html", "hbs"] => {
                KINDS.contains(kind)
                    && (2..=3).contains(&locale.len())
                    && locale.bytes().all(|c| c.is_ascii_lowercase())
            }
            _ => self.is_frame(),
        };
        let kinds = KINDS.join(", ");
        let why = format!(
            "the name must be KIND.LOCALE.txt.hbs or KIND.LOCALE.html.hbs, KIND one of {kinds}"
        );
        (!good).then(|| self.fault(1, why))
    }

    pub(super) fn subject_fault(&self) -> Option<String> {
        let good = self.format == Format::Html || self.source.starts_with("Subject:");
        let why = "the first line must be the subject: \"Subject: ...\"";
        (!good).then(|| self.fault(1, why))
    }
}

/// A mail is sent in a language only when both its parts are there.
pub(super) fn pair_faults(files: &[TemplateFile]) -> Vec<String> {
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let lonely = files.iter().filter_map(|file| {
        let other = match file.format {
            Format::Text => Format::Html,
            Format::Html => Format::Text,
        };
        let missing = super::file(&file.kind, &file.locale, other.word());
        let has_other = file.is_frame() || names.contains(missing.as_str());
        let why = format!("it is never used without {missing}: write that one too");
        (file.name_fault().is_none() && !has_other).then(|| file.fault(1, why))
    });
    lonely.collect()
}

/// The templates in use: the built-in ones, and over them those of the operator's `folder`.
///
/// # Errors
/// The folder or a file of it cannot be read or is too large.
pub fn files(folder: Option<&Path>) -> anyhow::Result<Vec<TemplateFile>> {
    let mut files: BTreeMap<String, TemplateFile> = built_in()?
        .into_iter()
        .map(|file| (file.name.clone(), file))
        .collect();
    for (name, path) in folder.map(in_folder).transpose()?.unwrap_or_default() {
        let source = read(&path)?;
        let origin = match files.contains_key(&name) {
            true => Origin::Overridden(path),
            false => Origin::Added(path),
        };
        files.insert(name.clone(), TemplateFile::new(&name, origin, source));
    }
    Ok(files.into_values().collect())
}

/// The templates that came with the program, by name.
///
/// # Errors
/// None in a program that was built whole.
pub fn built_in() -> anyhow::Result<Vec<TemplateFile>> {
    let names = BuiltIn::iter().filter(|name| !name.contains('/') && name.ends_with(".hbs"));
    let mut files = Vec::new();
    for name in names {
        let file = BuiltIn::get(&name).context("template vanished")?;
        let source = String::from_utf8(file.data.into_owned());
        let source = source.with_context(|| format!("{name}: not UTF-8"))?;
        files.push(TemplateFile::new(&name, Origin::BuiltIn, source));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("folder of mail templates {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".hbs") {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| shown.to_string())?;
    anyhow::ensure!(
        size.len() <= FILE_BYTES_MAX,
        "{shown}: larger than {FILE_BYTES_MAX} bytes"
    );
    std::fs::read_to_string(path).with_context(|| shown.to_string())
}
