//! `helpline templates`: the texts of mails, for those who write their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use helpline_core::queue::ewt::PromiseKind;
use serde_json::{Value, json};

use super::ConfigArgs;
use crate::notify::template::{self, ESTIMATES, KINDS, Origin, REASONS, Sample, TemplateFile};

/// Arguments of `helpline templates`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A mail is made of KIND.LOCALE.txt.hbs (its first line is the subject) and KIND.LOCALE.html.hbs;
mail.html.hbs is the frame around every HTML part. A file of the same name in `mail.templates`
takes the place of a built-in one; other languages are added the same way. Nothing is sent.

Example: helpline templates export --kind ack --locale en /etc/helpline/templates

Exit: 0 done; 1 a template has a fault, or a file is there already.")]
pub(super) struct Templates {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Which templates there are, and which of them are yours.
    List(List),
    /// Write built-in templates into a folder, to be changed there.
    Export(Export),
    /// Try templates with made-up facts of every sort; every fault with file and line.
    Check(Check),
    /// Print a mail as it would be sent, with made-up facts.
    Preview(Preview),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// The folder; it is made if it is not there.
    folder: PathBuf,
    /// Of this mail alone.
    #[arg(long, value_parser = KINDS)]
    kind: Option<String>,
    /// In this language alone.
    #[arg(long)]
    locale: Option<String>,
    /// Write over files that are there; what was changed in them is lost.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// The folder; without it that of the configuration (`mail.templates`).
    folder: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
struct Preview {
    /// Which mail.
    #[arg(value_parser = KINDS)]
    kind: String,
    /// In this language; without it that of the configuration (`site.language`).
    #[arg(long)]
    locale: Option<String>,
    /// The HTML part in place of the text.
    #[arg(long)]
    html: bool,
    /// What is promised.
    #[arg(long, value_enum, default_value = "range")]
    estimate: Estimate,
    /// Why it is written.
    #[arg(long, value_parser = REASONS)]
    reason: Option<String>,
    /// The customer's name.
    #[arg(long, default_value = "Ada")]
    name: String,
    /// Without every fact that may be missing.
    #[arg(long)]
    bare: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A sort of estimate on the command line.
#[derive(Clone, Copy, Debug)]
struct Estimate(PromiseKind);

impl clap::ValueEnum for Estimate {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Estimate; ESTIMATES.len()] = {
            let mut all = [Estimate(PromiseKind::None); ESTIMATES.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = Estimate(ESTIMATES[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self.0 {
            PromiseKind::Range => "range",
            PromiseKind::Short => "short",
            PromiseKind::Straddle => "straddle",
            PromiseKind::Closed => "closed",
            PromiseKind::Booked => "booked",
            PromiseKind::None => "none",
        }))
    }
}

impl Templates {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Export(export) => export.run(),
            Command::Check(check) => check.run(),
            Command::Preview(preview) => preview.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let files = template::files(config.mail.templates.as_deref())?;
        let mut out = std::io::stdout().lock();
        if !self.json {
            writeln!(
                out,
                "{:<11} {:<6} {:<6} {:<10} file",
                "kind", "locale", "format", "origin"
            )?;
        }
        for file in &files {
            let (format, origin) = (file.format.word(), file.origin.word());
            if self.json {
                writeln!(out, "{}", as_json(file))?;
                continue;
            }
            let locale = if file.is_frame() { "-" } else { &file.locale };
            let path = path_of(file).map(|path| path.display().to_string());
            let path = path.as_deref().unwrap_or(&file.name);
            writeln!(
                out,
                "{:<11} {locale:<6} {format:<6} {origin:<10} {path}",
                file.kind
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn as_json(file: &TemplateFile) -> Value {
    json!({
        "kind": file.kind,
        "locale": (!file.is_frame()).then_some(&file.locale),
        "format": file.format.word(),
        "origin": file.origin.word(),
        "name": file.name,
        "path": path_of(file),
    })
}

fn path_of(file: &TemplateFile) -> Option<&Path> {
    match &file.origin {
        Origin::BuiltIn => None,
        Origin::Overridden(path) | Origin::Added(path) => Some(path),
    }
}

impl Export {
    fn run(self) -> anyhow::Result<ExitCode> {
        let wanted = |file: &TemplateFile| {
            self.kind.as_ref().is_none_or(|kind| *kind == file.kind)
                && self.locale.as_ref().is_none_or(|l| *l == file.locale)
        };
        let files: Vec<_> = template::built_in()?.into_iter().filter(wanted).collect();
        anyhow::ensure!(
            !files.is_empty(),
            "no built-in template is of that language"
        );
        let folder = &self.folder;
        let there: Vec<_> = files
            .iter()
            .filter(|f| folder.join(&f.name).exists())
            .collect();
        if let (Some(first), false) = (there.first(), self.force) {
            anyhow::bail!(
                "{} and {} more are there already; nothing was written. Name another folder, or --force to write over them",
                folder.join(&first.name).display(),
                there.len() - 1,
            );
        }
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for file in &files {
            let path = folder.join(&file.name);
            std::fs::write(&path, &file.source).with_context(|| path.display().to_string())?;
        }
        println!("{} templates are in {}", files.len(), folder.display());
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(self) -> anyhow::Result<ExitCode> {
        let folder = match self.folder {
            Some(folder) => Some(folder),
            None => self.config.load()?.mail.templates,
        };
        template::Templates::load(folder.as_deref())?;
        let files = template::files(folder.as_deref())?;
        let own = files.iter().filter(|file| file.origin != Origin::BuiltIn);
        println!(
            "{} templates are in order, {} of them yours",
            files.len(),
            own.count()
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl Preview {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let templates = template::Templates::load(config.mail.templates.as_deref())?;
        let sample = Sample {
            kind: self.kind,
            estimate: Some(self.estimate.0),
            reason: self.reason,
            name: Some(self.name),
            bare: self.bare,
        };
        let wanted = self.locale.unwrap_or(config.site.language.clone());
        let mail = templates.render(
            &sample.row(&wanted),
            &config.site.name,
            &config.public_url(),
        )?;
        if mail.locale != wanted {
            eprintln!(
                "there are no templates in {wanted:?}: this mail is sent in {:?}",
                mail.locale
            );
        }
        let mut out = std::io::stdout().lock();
        if self.html {
            out.write_all(mail.html.as_bytes())?;
        } else {
            write!(out, "Subject: {}\n\n{}", mail.subject, mail.text)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
