//! Which facts and helpers a template names. Rendering finds a wrong name only where it comes
//! past; here all branches are looked at, also those no trial enters.

use std::collections::BTreeSet;

use handlebars::Path;
use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Template};
use handlebars::template::{Subexpression, TemplateElement};
use serde_json::Value;

use super::files::{Format, TemplateFile};
use super::{MailBody, facts};

/// What may stand first in a tag besides a fact.
const HELPERS: [&str; 15] = [
    "if", "unless", "with", "each", "lookup", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or",
    "not", "len",
];
/// Whose body has other facts.
const SCOPES: [&str; 2] = ["with", "each"];

/// All names that mean nothing, and in HTML all values that are not escaped.
pub(super) fn faults(file: &TemplateFile, template: &Template) -> Vec<String> {
    let mut walk = Walk {
        file,
        facts: facts(&MailBody::default(), "en", "Site", "http://h"),
        partials: BTreeSet::from(["@partial-block".to_owned()]),
        line: 1,
        faults: Vec::new(),
    };
    if file.format == Format::Html {
        walk.partials.insert("mail".to_owned());
    }
    walk.template(template, true);
    walk.faults
}

struct Walk<'a> {
    file: &'a TemplateFile,
    facts: Value,
    partials: BTreeSet<String>,
    line: usize,
    faults: Vec<String>,
}

impl Walk<'_> {
    /// `at_top`: names are those of the facts, not of a part of them.
    fn template(&mut self, template: &Template, at_top: bool) {
        for (index, element) in template.elements.iter().enumerate() {
            // An `else if` has no place of its own.
            if let Some(place) = template.mapping.get(index) {
                self.line = place.0;
            }
            match element {
                TemplateElement::Expression(tag) => self.tag(tag, at_top),
                TemplateElement::HtmlExpression(tag) => {
                    if self.file.format == Format::Html {
                        // It would put a customer's text into the page as it is.
                        self.fault("values must be escaped in HTML: write {{name}}");
                    }
                    self.tag(tag, at_top);
                }
                TemplateElement::HelperBlock(block) => self.block(block, at_top),
                TemplateElement::DecoratorExpression(tag)
                | TemplateElement::DecoratorBlock(tag) => self.inline(tag, at_top),
                TemplateElement::PartialExpression(tag) | TemplateElement::PartialBlock(tag) => {
                    self.partial(tag, at_top);
                }
                // Literal text, comments, and what a later version of the library knows.
                _ => {}
            }
        }
    }

    fn tag(&mut self, tag: &HelperTemplate, at_top: bool) {
        if tag.params.is_empty() && tag.hash.is_empty() {
            return self.parameter(&tag.name, at_top);
        }
        self.helper(name_of(&tag.name));
        self.parameters(tag.params.iter().chain(tag.hash.values()), at_top);
    }

    fn block(&mut self, block: &HelperTemplate, at_top: bool) {
        let name = name_of(&block.name);
        self.helper(name);
        self.parameters(block.params.iter().chain(block.hash.values()), at_top);
        let inside = at_top && !SCOPES.contains(&name) && block.block_param.is_none();
        if let Some(body) = &block.template {
            self.template(body, inside);
        }
        if let Some(otherwise) = &block.inverse {
            self.template(otherwise, at_top);
        }
    }

    fn inline(&mut self, tag: &DecoratorTemplate, at_top: bool) {
        match (name_of(&tag.name), tag.params.first()) {
            ("inline", Some(Parameter::Literal(Value::String(name)))) => {
                self.partials.insert(name.clone());
            }
            (name, _) => self.fault(&format!("there is no decorator {name:?}")),
        }
        if let Some(body) = &tag.template {
            self.template(body, at_top);
        }
    }

    fn partial(&mut self, tag: &DecoratorTemplate, at_top: bool) {
        let name = name_of(&tag.name);
        if !self.partials.contains(name) {
            self.fault(&format!("there is no part {name:?} to put in here"));
        }
        self.parameters(tag.params.iter().chain(tag.hash.values()), at_top);
        if let Some(body) = &tag.template {
            self.template(body, at_top);
        }
    }

    fn parameters<'p>(&mut self, all: impl Iterator<Item = &'p Parameter>, at_top: bool) {
        for parameter in all {
            self.parameter(parameter, at_top);
        }
    }

    fn parameter(&mut self, parameter: &Parameter, at_top: bool) {
        match parameter {
            Parameter::Path(Path::Relative((_, name))) | Parameter::Name(name) => {
                self.fact(name, at_top);
            }
            Parameter::Subexpression(inner) => self.subexpression(inner, at_top),
            // Literals, and `@first` and the like, which only rendering can judge.
            _ => {}
        }
    }

    fn subexpression(&mut self, inner: &Subexpression, at_top: bool) {
        if let TemplateElement::Expression(tag) = inner.as_element() {
            self.helper(name_of(&tag.name));
            self.parameters(tag.params.iter().chain(tag.hash.values()), at_top);
        }
    }

    fn helper(&mut self, name: &str) {
        if !HELPERS.contains(&name) {
            let known = HELPERS.join(", ");
            self.fault(&format!("there is no helper {name:?}; known are {known}"));
        }
    }

    fn fact(&mut self, name: &str, at_top: bool) {
        let from_root = name.strip_prefix("@root");
        let steps = from_root.unwrap_or(name).split(['.', '/']);
        let mut steps = steps.filter(|step| !step.is_empty() && *step != "this");
        if (!at_top && from_root.is_none()) || name.contains("..") {
            return;
        }
        let found = steps.try_fold(&self.facts, |within, step| within.get(step));
        if found.is_none() {
            let known: Vec<&str> = match &self.facts {
                Value::Object(facts) => facts.keys().map(String::as_str).collect(),
                _ => Vec::new(),
            };
            let known = known.join(", ");
            self.fault(&format!("there is no {name:?}; known are {known}"));
        }
    }

    fn fault(&mut self, reason: &str) {
        self.faults.push(self.file.fault(self.line, reason));
    }
}

/// How a helper, decorator or part is called.
fn name_of(parameter: &Parameter) -> &str {
    match parameter {
        Parameter::Name(name)
        | Parameter::Path(Path::Relative((_, name)) | Path::Local((_, _, name)))
        | Parameter::Literal(Value::String(name)) => name,
        _ => "",
    }
}
