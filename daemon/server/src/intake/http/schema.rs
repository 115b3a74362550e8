//! The published schemas and the code say the same.

use std::path::Path;

use helpline_core::request::json::read;

use super::*;

/// Faults that no schema can see: they depend on the site, the clock or a database.
const BEYOND: [&str; 12] = [
    "bad-number",
    "not-allowed",
    "bad-queue",
    "bad-zone",
    "bad-page",
    "bad-email",
    "bad-text",
    "too-long",
    "missing",
    "time-in-past",
    "time-too-far",
    "bad-window",
];

pub(super) fn schema_file(name: &str) -> Value {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    serde_json::from_slice(&std::fs::read(schemas.join(name)).unwrap()).unwrap()
}

/// A checker for one of the API's answers.
pub(super) fn answer_schema(name: &str) -> jsonschema::Validator {
    let mut schema = schema_file("openapi.json");
    schema["$ref"] = format!("#/components/schemas/{name}").into();
    jsonschema::validator_for(&schema).unwrap()
}

#[tokio::test(start_paused = true)]
async fn reader_and_schema_agree() {
    let schema = schema_file("help-request.json");
    let schema = jsonschema::validator_for(&schema).unwrap();
    let world = world().await;
    let corpus = [
        r#"{"phone":"+4930901820"}"#,
        r#"{"phone":"030 901820","queue":"help","name":"A","email":"a@b.de","page":"https://h/","note":"x\ny","lang":"de-AT","tz":"Europe/Berlin","when":"now"}"#,
        r#"{"phone":"+4930901820","queue":null,"name":null,"email":null,"page":null,"note":null,"lang":null,"tz":null,"when":null}"#,
        r#"{"phone":"+4930901820","name":"","email":"","page":"","note":"","lang":"","tz":"","queue":""}"#,
        r#"{"phone":"+4930901820","when":{"at":"2026-11-24T10:00:00Z"}}"#,
        r#"{"phone":"+4930901820","when":{"not_before":"2026-11-24T10:00:00+01:00"}}"#,
        r#"{"phone":"+4930901820","when":{"not_after":"2026-11-24t10:00:00.5z"}}"#,
        r#"{"phone":"+4930901820","when":{"not_before":"2026-11-24T10:00:00Z","not_after":"2026-11-24T12:00:00Z"}}"#,
        r#"{"phone":"+4930901820","when":{}}"#,
        r#"{"phone":"+4930901820","when":{"at":"2026-11-24T10:00:00Z","not_after":"2026-11-24T10:00:00Z"}}"#,
        r#"{"phone":"+4930901820","when":{"at":null}}"#,
        r#"{"phone":"+4930901820","when":{"at":"2026-11-24"}}"#,
        r#"{"phone":"+4930901820","when":{"at":"2026-11-24T10:00:00"}}"#,
        r#"{"phone":"+4930901820","when":{"on":"2026-11-24T10:00:00Z"}}"#,
        r#"{"phone":"+4930901820","when":"later"}"#,
        r#"{"phone":"+4930901820","when":["now"]}"#,
        r#"{"phone":"+4930901820","when":{"at":"2020-01-01T10:00:00Z"}}"#,
        r#"{"phone":"+4930901820","fone":"x"}"#,
        r#"{"phone":"+4930901820","name":5}"#,
        r#"{"phone":"+4930901820","email":["a@b.de"]}"#,
        r#"{"phone":"+4930901820","email":"nobody"}"#,
        r#"{"phone":"+4930901820","email":"a@b..de"}"#,
        r#"{"phone":"+4930901820","lang":"de_DE"}"#,
        r#"{"phone":"+4930901820","lang":true}"#,
        r#"{"phone":"+4930901820","tz":"Mars/Olympus"}"#,
        r#"{"phone":"+4930901820","tz":{}}"#,
        r#"{"phone":"+4930901820","page":"javascript:alert(1)"}"#,
        r#"{"phone":"+4930901820","note":1}"#,
        r#"{"phone":"+4930901820","queue":"none"}"#,
        r#"{"phone":"+4930901820","queue":0}"#,
        r#"{"phone":4930901820}"#,
        r#"{"phone":null}"#,
        r#"{"phone":""}"#,
        r#"{"phone":"110"}"#,
        r#"{"phone":"call me"}"#,
        "{}",
        "[]",
        "null",
        "\"+4930901820\"",
    ];
    let (mut good, mut bad) = (0, 0);
    for body in corpus {
        let value: Value = serde_json::from_str(body).unwrap();
        let valid = schema.is_valid(&value);
        match read(body.as_bytes(), &world.intake.context(NOW)) {
            Ok(_) => {
                assert!(valid, "the schema refuses what is taken: {body}");
                good += 1;
            }
            Err(faults) => {
                let beyond = faults.iter().all(|fault| BEYOND.contains(&fault.kind));
                assert!(!valid || beyond, "the schema allows {body}: {faults:?}");
                bad += 1;
            }
        }
    }
    assert!(good >= 8 && bad >= 25, "{good} good, {bad} bad");
}

#[tokio::test(start_paused = true)]
async fn description_is_served_and_every_path_in_it_is_a_route() {
    let world = world().await;
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        world.ask(request).await
    };
    let (status, _, text) = get("/api/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let served: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(served, schema_file("openapi.json"));
    assert_eq!(get("/api/help-request.json").await.0, StatusCode::OK);
    assert_eq!(get("/").await.1["location"], "/help");
    let paths = served["paths"].as_object().unwrap();
    for path in paths.keys().filter(|path| path.starts_with("/api/")) {
        assert_eq!(get(path).await.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn examples_of_the_schema_are_good() {
    let file = schema_file("help-request.json");
    let schema = jsonschema::validator_for(&file).unwrap();
    let world = world().await;
    for example in file["examples"].as_array().unwrap() {
        assert!(schema.is_valid(example));
        let body = example.to_string();
        assert!(read(body.as_bytes(), &world.intake.context(NOW)).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_as_the_api_description_says() {
    let world = world().await;
    let (_, _, body) = world.json(GOOD).await;
    assert!(answer_schema("Accepted").is_valid(&body), "{body}");
    let problem = answer_schema("Problem");
    for wrong in ["{", r#"{"phone":5,"x":1}"#] {
        let (_, _, body) = world.json(wrong).await;
        assert!(problem.is_valid(&body), "{body}");
    }
    let (_, _, body) = world.json_with(&[("origin", "null")], GOOD).await;
    assert!(problem.is_valid(&body) && !answer_schema("Accepted").is_valid(&body));
}
