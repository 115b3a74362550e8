//! `helpline schema NAME`: the JSON Schemas of everything an operator writes or sends.

use std::process::ExitCode;

use crate::config::Config;

/// Arguments of `helpline schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Schema {
    /// Which schema.
    #[arg(value_enum)]
    name: Name,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// The configuration file.
    Config,
    /// Body of `POST /api/requests`.
    HelpRequest,
    /// A call flow.
    IvrFlow,
    /// A golden test of a call flow.
    IvrTest,
    /// What `helpline mail` prints.
    Mail,
    /// The HTTP API.
    Openapi,
}

impl Schema {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let text = match self.name {
            Name::Config => config_schema()?,
            Name::HelpRequest => include_str!("../../../../schemas/help-request.json").to_owned(),
            Name::IvrFlow => include_str!("../../../../schemas/ivr-flow.json").to_owned(),
            Name::IvrTest => include_str!("../../../../schemas/ivr-test.json").to_owned(),
            Name::Mail => include_str!("../../../../schemas/mail.json").to_owned(),
            Name::Openapi => include_str!("../../../../schemas/openapi.json").to_owned(),
        };
        println!("{}", text.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

/// The schema of the configuration, made from the structs; `schemas/config.json` is a copy.
///
/// # Errors
/// Never in practice: the schema is plain JSON.
pub(super) fn config_schema() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(Config);
    Ok(serde_json::to_string_pretty(&schema)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_that_of_the_structs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/config.json");
        let made = config_schema().unwrap();
        if std::env::var_os("HELPLINE_GOLDEN").is_some() {
            std::fs::write(path, format!("{made}\n")).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            committed.trim_end(),
            made,
            "schemas/config.json is stale: run `tests/run --golden schema`"
        );
    }
}
