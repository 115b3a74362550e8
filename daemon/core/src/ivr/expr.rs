//! Expressions of flows: CEL (<https://cel.dev>), compiled at load, evaluated on values
//! that are converted at the border so that JSON integers, times and lengths of time
//! behave as an author expects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cel::common::ast::{EntryExpr, Expr as Ast, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, IdedExpr, Program};

use crate::time::Wall;

pub use cel::Value;
pub use cel::objects::Key as MapKey;

/// Longest expression in bytes.
pub const EXPR_BYTES_MAX: usize = 1024;
/// Longest text a variable may hold, in bytes.
const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Largest map or list a variable may hold, in bytes (texts and keys, 16 a number).
const TREE_BYTES_MAX: usize = 64 * 1024;

/// Making the standard environment takes 100 µs and more, so one serves the process.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expr {
    source: String,
    program: Arc<Program>,
    names: BTreeSet<String>,
    fields: BTreeSet<(String, String)>,
    nested: bool,
}

/// Why an expression gave no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// Types, names or fields do not fit: no other values would help.
    #[error("{0}")]
    Shape(String),
    /// These values do not work (`int('x')`, division by zero).
    #[error("{0}")]
    Value(String),
}

/// The names an expression sees.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    values: BTreeMap<String, Value>,
}

impl Scope {
    /// Sets `name` to `value`.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Whether `name` exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl Expr {
    /// Compiles `source`.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.len() > EXPR_BYTES_MAX {
            return Err(format!("longer than {EXPR_BYTES_MAX} bytes"));
        }
        let program = ENV.compile(source).map_err(|e| {
            let first = e.errors.first();
            first.map_or_else(|| "not an expression".to_owned(), |e| one_line(&e.msg))
        })?;
        let mut reads = Reads::default();
        reads.expression(program.expression());
        let Reads {
            names,
            fields,
            nested,
            ..
        } = reads;
        Ok(Expr {
            source: source.to_owned(),
            program: Arc::new(program),
            names,
            fields,
            nested,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables it reads, without those its own macros bind.
    #[must_use]
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Whether a macro stands in a macro.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.nested
    }

    /// Whether it reads this field of that name: `queue.position`, `queues["help"]`.
    #[must_use]
    pub fn reads(&self, name: &str, field: &str) -> bool {
        self.fields_of(name).any(|f| f == field)
    }

    /// The fields it reads of that name.
    pub fn fields_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.fields.iter().filter(move |(n, _)| n == name);
        fields.map(|(_, field)| field.as_str())
    }

    /// The value in `scope`.
    ///
    /// # Errors
    /// [`EvalError`] if there is none.
    pub fn eval(&self, scope: &Scope) -> Result<Value, EvalError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for name in &self.names {
            if let Some(value) = scope.get(name) {
                context.add_variable_from_value(name.as_str(), value.clone());
            }
        }
        self.program.execute(&context).map_err(|e| {
            let text = one_line(&e.to_string());
            match e {
                ExecutionError::FunctionError { .. }
                | ExecutionError::DivisionByZero(_)
                | ExecutionError::RemainderByZero(_)
                | ExecutionError::Overflow(..)
                | ExecutionError::IndexOutOfBounds(_)
                | ExecutionError::DuplicateKey(_) => EvalError::Value(text),
                _ => EvalError::Shape(text),
            }
        })
    }

    /// The value, which must be true or false.
    ///
    /// # Errors
    /// [`EvalError`]; [`EvalError::Shape`] if it is something else.
    pub fn test(&self, scope: &Scope) -> Result<bool, EvalError> {
        match self.eval(scope)? {
            Value::Bool(b) => Ok(b),
            other => Err(EvalError::Shape(format!(
                "gives {}, but true or false is needed",
                type_name(&other)
            ))),
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

/// What an expression reads.
#[derive(Default)]
struct Reads<'a> {
    /// Names that no macro around them binds (`x` of `list.exists(x, ..)`).
    names: BTreeSet<String>,
    /// Fields of such names.
    fields: BTreeSet<(String, String)>,
    bound: Vec<&'a str>,
    nested: bool,
    /// Macros around.
    depth: u32,
}

impl<'a> Reads<'a> {
    fn is_free(&self, name: &str) -> bool {
        !name.starts_with('@') && !self.bound.contains(&name)
    }

    fn expression(&mut self, e: &'a IdedExpr) {
        match &e.expr {
            Ast::Unspecified | Ast::Literal(_) => {}
            Ast::Ident(name) => {
                if self.is_free(name) {
                    self.names.insert(name.clone());
                }
            }
            Ast::Call(call) => {
                if call.func_name == operators::INDEX
                    && let [of, by] = call.args.as_slice()
                    && let (Ast::Ident(name), Ast::Literal(LiteralValue::String(field))) =
                        (&of.expr, &by.expr)
                    && self.is_free(name)
                {
                    self.fields.insert((name.clone(), field.inner().to_owned()));
                }
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.expression(part);
                }
            }
            Ast::Comprehension(c) => {
                self.expression(&c.iter_range);
                self.expression(&c.accu_init);
                let before = self.bound.len();
                self.bound.push(&c.iter_var);
                self.bound.push(&c.accu_var);
                self.bound.extend(c.iter_var2.as_deref());
                self.nested |= self.depth > 0;
                self.depth += 1;
                for part in [&c.loop_cond, &c.loop_step, &c.result] {
                    self.expression(part);
                }
                self.depth -= 1;
                self.bound.truncate(before);
            }
            Ast::List(list) => list.elements.iter().for_each(|e| self.expression(e)),
            Ast::Map(map) => map.entries.iter().for_each(|e| self.entry(&e.expr)),
            Ast::Struct(s) => s.entries.iter().for_each(|e| self.entry(&e.expr)),
            Ast::Select(select) => {
                if let Ast::Ident(name) = &select.operand.expr
                    && self.is_free(name)
                {
                    self.fields.insert((name.clone(), select.field.clone()));
                }
                self.expression(&select.operand);
            }
        }
    }

    fn entry(&mut self, e: &'a EntryExpr) {
        match e {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key);
                self.expression(&entry.value);
            }
        }
    }
}

/// A JSON value as expressions see it: whole numbers are `int`, never `uint`, because
/// arithmetic between the two fails.
#[must_use]
pub fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => n
            .as_i64()
            .map_or_else(|| Value::Float(n.as_f64().unwrap_or(0.0)), Value::Int),
        serde_json::Value::String(s) => Value::from(s.as_str()),
        serde_json::Value::Array(a) => Value::List(Arc::new(a.iter().map(from_json).collect())),
        serde_json::Value::Object(o) => map(o.iter().map(|(k, v)| (k.as_str(), from_json(v)))),
    }
}

/// A value as JSON: times as RFC 3339, lengths of time in milliseconds; `None` if it has
/// no form there.
#[must_use]
pub fn to_json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::UInt(u) => (*u).into(),
        Value::Float(x) => serde_json::Number::from_f64(*x)?.into(),
        Value::String(s) => s.as_str().into(),
        Value::Duration(d) => d.num_milliseconds().into(),
        Value::Timestamp(t) => Wall::from_millis(t.timestamp_millis()).rfc3339().into(),
        Value::List(list) => list.iter().map(to_json).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(map) => {
            let members = map.map.iter();
            let members = members.map(|(key, value)| Some((key_text(key), to_json(value)?)));
            members.collect::<Option<serde_json::Map<_, _>>>()?.into()
        }
        _ => return None,
    })
}

/// A map value.
#[must_use]
pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries: HashMap<MapKey, Value> = entries
        .into_iter()
        .map(|(k, v)| (MapKey::from(k), v))
        .collect();
    Value::from(entries)
}

/// A wall clock time as expressions see it.
#[must_use]
pub fn timestamp(at: Wall) -> Option<Value> {
    chrono::DateTime::from_timestamp_millis(at.millis()).map(|t| Value::Timestamp(t.fixed_offset()))
}

/// A length of time as expressions see it.
#[must_use]
pub fn duration(d: Duration) -> Value {
    let millis = i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 1_000_000);
    Value::Duration(chrono::Duration::milliseconds(
        millis.min(i64::MAX / 1_000_000),
    ))
}

/// The wall clock time of a timestamp.
#[must_use]
pub fn to_wall(value: &Value) -> Option<Wall> {
    match value {
        Value::Timestamp(t) => Some(Wall::from_millis(t.timestamp_millis())),
        _ => None,
    }
}

/// A length of time; a negative one counts as zero.
#[must_use]
pub fn to_duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Duration(d) => Some(Duration::from_millis(
            u64::try_from(d.num_milliseconds()).unwrap_or(0),
        )),
        _ => None,
    }
}

/// The CEL name of a value's type.
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Int(_) | Value::UInt(_) => "an int",
        Value::Float(_) => "a number",
        Value::String(_) => "a string",
        Value::Bool(_) => "a bool",
        Value::Duration(_) => "a duration",
        Value::Timestamp(_) => "a timestamp",
        Value::Null => "null",
        _ => "something else",
    }
}

/// A value in a trace: short, in one line, maps in the order of their keys.
#[must_use]
pub fn show(value: &Value) -> String {
    match value {
        Value::List(l) => {
            let parts: Vec<String> = l.iter().take(20).map(show).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Map(m) => {
            let sorted: BTreeMap<_, _> = m.map.iter().collect();
            let part = |(k, v): (&MapKey, &Value)| format!("{}: {}", key_text(k), show(v));
            let parts: Vec<String> = sorted.into_iter().take(20).map(part).collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Int(i) => i.to_string(),
        Value::UInt(u) => u.to_string(),
        Value::Float(x) => x.to_string(),
        Value::String(s) => s
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(100)
            .collect(),
        Value::Bool(b) => b.to_string(),
        Value::Duration(d) if d.num_milliseconds() % 1000 == 0 => format!("{}s", d.num_seconds()),
        Value::Duration(d) => format!("{}ms", d.num_milliseconds()),
        Value::Timestamp(t) => Wall::from_millis(t.timestamp_millis()).rfc3339(),
        Value::Null => "null".to_owned(),
        _ => "?".to_owned(),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Int(i) => i.to_string(),
        MapKey::Uint(u) => u.to_string(),
        MapKey::Bool(b) => b.to_string(),
        MapKey::String(s) => s.to_string(),
    }
}

/// Whether a variable may hold `value`: a loop of `s + s` must not eat the memory.
#[must_use]
pub fn fits(value: &Value) -> bool {
    match value {
        Value::String(s) => s.len() <= TEXT_BYTES_MAX,
        other => weight(other, 0) <= TREE_BYTES_MAX,
    }
}

fn weight(value: &Value, depth: u32) -> usize {
    if depth > 16 {
        return usize::MAX / 2;
    }
    let sum = |it: &mut dyn Iterator<Item = usize>| it.fold(16, usize::saturating_add);
    match value {
        Value::String(s) => s.len() + 16,
        Value::Bytes(b) => b.len() + 16,
        Value::List(l) => sum(&mut l.iter().map(|v| weight(v, depth + 1))),
        Value::Map(m) => sum(&mut m
            .map
            .iter()
            .map(|(k, v)| key_text(k).len().saturating_add(weight(v, depth + 1)))),
        // What a context cannot take back (functions, optional values) is not kept.
        Value::Function(..) | Value::Opaque(_) | Value::Struct(_) => usize::MAX / 2,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(source: &str, scope: &Scope) -> Result<Value, EvalError> {
        Expr::compile(source).unwrap().eval(scope)
    }

    #[test]
    fn whole_json_numbers_can_be_added_to_literals() {
        let mut scope = Scope::default();
        scope.set("x", from_json(&serde_json::json!(5)));
        assert_eq!(eval("x + 1 == 6", &scope), Ok(Value::Bool(true)));
        assert_eq!(eval("x > 3", &scope), Ok(Value::Bool(true)));
    }

    #[test]
    fn names_bound_by_macros_are_not_free() {
        let e =
            Expr::compile("list.exists(x, x == y) && has(call.from) || [z].all(q, q > 0)").unwrap();
        let names: Vec<&str> = e.names().iter().map(String::as_str).collect();
        assert_eq!(names, ["call", "list", "y", "z"]);
    }

    #[test]
    fn faults_of_shape_and_of_value_are_told_apart() {
        let scope = Scope::default();
        assert!(matches!(eval("int('x')", &scope), Err(EvalError::Value(_))));
        assert!(matches!(eval("nosuch", &scope), Err(EvalError::Shape(_))));
        assert!(matches!(eval("1 + 'a'", &scope), Err(EvalError::Shape(_))));
        let not_bool = Expr::compile("1").unwrap().test(&scope);
        assert!(matches!(not_bool, Err(EvalError::Shape(_))));
    }

    #[test]
    fn hostile_sources_are_refused_in_one_line() {
        for source in [
            "",
            "1 +",
            "((((",
            "'",
            "a b",
            &"(".repeat(96),
            &"1+".repeat(600),
        ] {
            let error = Expr::compile(source).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
        }
        let deep = format!("{}1{}", "(".repeat(90), ")".repeat(90));
        assert!(Expr::compile(&deep).is_ok());
    }

    #[test]
    fn hostile_values_are_errors_and_never_panic() {
        let mut scope = Scope::default();
        scope.set(
            "now",
            timestamp(Wall::from_millis(1_795_440_000_000)).unwrap(),
        );
        scope.set("s", "x".repeat(4096));
        scope.set(
            "m",
            from_json(&serde_json::json!({ "a": [1, { "b": null }] })),
        );
        for source in [
            "now + duration('99999999h') + duration('99999999h')",
            "now - duration('99999999h')",
            "duration('9223372036s') + duration('9223372036s')",
            "9223372036854775807 + 1",
            "-(-9223372036854775807 - 1)",
            "1 / 0",
            "1 % 0",
            "[1][5]",
            "m.a[1].b.c",
            "m.nosuch",
            "s.matches('(x+x+)+y')",
            "s.matches('[')",
            "timestamp('x')",
            "int('999999999999999999999')",
            "optional.of(1)",
            "size",
            "[1, 2, 3].map(x, [1, 2, 3].map(y, x * y))",
            "'5' == 5",
            "s.startsWith(5)",
        ] {
            if let Ok(expr) = Expr::compile(source) {
                let value = expr.eval(&scope);
                if let Ok(value) = value {
                    let kept = fits(&value);
                    let _shown = show(&value);
                    if kept {
                        scope.set("kept", value);
                        // Giving it back to an expression must not panic either.
                        let _again = Expr::compile("kept == kept").unwrap().eval(&scope);
                    }
                }
            }
        }
        assert!(eval("9223372036854775807 + 1", &scope).is_err());
        assert!(eval("m.nosuch", &scope).is_err());
    }

    #[test]
    fn times_keep_their_milliseconds() {
        let mut scope = Scope::default();
        scope.set("now", timestamp(Wall::from_millis(1_500)).unwrap());
        scope.set("then", timestamp(Wall::from_millis(250)).unwrap());
        let ago = eval("now - then", &scope).unwrap();
        assert_eq!(to_duration(&ago), Some(Duration::from_millis(1250)));
        assert_eq!(
            to_duration(&eval("then - now", &scope).unwrap()),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_variable_cannot_grow_without_end() {
        assert!(fits(&Value::from("x".repeat(4096))));
        assert!(!fits(&Value::from("x".repeat(4097))));
        let list = Value::List(Arc::new(vec![Value::from("x".repeat(4000)); 17]));
        assert!(!fits(&list));
    }
}
