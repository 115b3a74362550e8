//! Expressions of flows. One that compiles gives a value that can be shown, or says in one
//! line why not.
#![no_main]

use std::time::Duration;

use helpline_core::ivr::expr::{self, Expr, Scope};
use helpline_core::time::Wall;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut scope = Scope::default();
    scope.set("v", "text");
    scope.set("n", 7);
    scope.set("b", true);
    scope.set(
        "now",
        expr::timestamp(Wall::from_millis(1_795_440_000_000)).unwrap(),
    );
    scope.set("d", expr::duration(Duration::from_secs(90)));
    let json = serde_json::json!({ "name": "Ada", "tags": ["a", "b"], "n": 1.5, "none": null });
    scope.set("r", expr::from_json(&json));
    match Expr::compile(text) {
        Ok(compiled) => {
            assert!(text.len() <= expr::EXPR_BYTES_MAX && compiled.source() == text);
            match compiled.eval(&scope) {
                Ok(value) => {
                    let _ = (
                        expr::show(&value),
                        expr::to_json(&value),
                        expr::fits(&value),
                    );
                }
                Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
            }
        }
        Err(why) => assert!(!why.contains('\n'), "{why}"),
    }
});
