//! The import rules of `docs/ARCHITECTURE.md`, as a test: a module may use itself and
//! the modules listed beside it. A row lists only rows above it, so that a circle
//! cannot be written down here.

use std::fs;
use std::path::{Path, PathBuf};

/// A module and what it may import, lowest layer first.
type Table = &'static [(&'static str, &'static [&'static str])];

const CORE: Table = &[
    ("time", &[]),
    ("rng", &[]),
    ("id", &["time", "rng"]),
    ("agent", &["time"]),
    ("oauth", &["time"]),
    ("phone", &["time", "rng"]),
    ("audio", &["time", "rng"]),
    ("sdp", &["time", "rng", "audio"]),
    ("sip", &["time", "rng"]),
    ("calendar", &["phone", "time"]),
    ("rtp", &["audio", "rng", "time"]),
    ("request", &["calendar", "id", "phone", "time"]),
    ("smtp", &["request", "id", "time"]),
    ("ivr", &["audio", "calendar", "id", "phone", "rng", "time"]),
    ("call", &["ivr", "audio", "sdp", "id", "phone", "time"]),
    (
        "queue",
        &["call", "request", "calendar", "id", "phone", "rng", "time"],
    ),
];

const SERVER: Table = &[
    ("clock", &[]),
    ("log", &[]),
    ("config", &[]),
    ("tls", &["clock", "config", "log"]),
    ("dns", &["clock", "config", "log"]),
    ("page", &["clock", "config", "log"]),
    ("store", &["clock", "config", "log"]),
    ("voice", &["tls", "dns", "clock", "config", "log"]),
    ("services", &["clock", "config", "log"]),
    ("notify", &["services", "store", "clock", "config", "log"]),
    ("desk", &["store", "clock", "config", "log"]),
    (
        "assist",
        &["services", "desk", "voice", "clock", "config", "log"],
    ),
    (
        "dispatch",
        &["assist", "desk", "voice", "clock", "config", "log"],
    ),
    (
        "intake",
        &[
            "assist", "services", "desk", "voice", "page", "tls", "dns", "clock", "config", "log",
        ],
    ),
    ("web", &["desk", "voice", "page", "clock", "config", "log"]),
    (
        "daemon",
        &[
            "clock", "log", "config", "page", "services", "store", "voice", "notify", "desk",
            "assist", "dispatch", "intake", "web",
        ],
    ),
    (
        "cli",
        &[
            "clock", "log", "config", "page", "services", "store", "voice", "notify", "desk",
            "assist", "dispatch", "intake", "web", "daemon",
        ],
    ),
];

#[test]
fn core_modules_import_only_downwards() {
    check("core", CORE);
}

#[test]
fn server_modules_import_only_downwards() {
    check("server", SERVER);
}

#[test]
fn every_module_has_a_row() {
    for (name, table) in [("core", CORE), ("server", SERVER)] {
        for entry in fs::read_dir(src(name)).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let known = table.iter().any(|(row, _)| *row == module);
            assert!(
                known || module == "lib" || module == "main",
                "{name}: {module} has no row in tests/layering.rs"
            );
        }
    }
}

#[test]
fn core_has_no_dependency_that_touches_the_world() {
    let manifest = fs::read_to_string(src("core").join("../Cargo.toml")).unwrap();
    for forbidden in [
        "tokio",
        "sqlx",
        "rusqlite",
        "axum",
        "lettre",
        "rsipstack",
        "nix",
        "libc",
    ] {
        let used = manifest.lines().any(|line| line.starts_with(forbidden));
        assert!(!used, "core depends on {forbidden}");
    }
}

fn src(member: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(member)
        .join("src")
}

fn check(member: &str, table: Table) {
    let mut wrong = Vec::new();
    for (row, (module, allowed)) in table.iter().enumerate() {
        for name in *allowed {
            let below = table[..row].iter().any(|(above, _)| above == name);
            assert!(below, "table: {module} lists {name}, which is not below it");
        }
        for (path, text) in sources(&src(member), module) {
            for used in crate_imports(&text) {
                let is_module = table.iter().any(|(row, _)| *row == used);
                if is_module && used != *module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{path}: {module} uses {used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every `crate::NAME` and every first name inside `crate::{..}`.
fn crate_imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, prefix) in text.match_indices("crate::") {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => names.push(identifier(rest)),
            Some(group) => names.extend(first_names(group)),
        }
    }
    names
}

/// The first name of each branch of `{a::b, c::{d, e}}`.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(identifier(&group[index..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The `.rs` files of a module: `NAME.rs` and everything under `NAME/`.
fn sources(src: &Path, module: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut todo = vec![src.join(module).with_extension("rs"), src.join(module)];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") && path.exists() {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
    found
}
