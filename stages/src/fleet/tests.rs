#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

fn complaint(toml: serde_json::Value) -> (String, String) {
    let config: Config = serde_json::from_value(toml).unwrap();
    let complaint = config.check().unwrap_err();
    (complaint.field, complaint.message)
}

#[test]
fn what_cannot_be_is_a_complaint_about_its_field() {
    let groups = |roles: &[&str]| roles.iter().map(|r| serde_json::json!({ "role": r })).collect::<Vec<_>>();
    let (field, message) = complaint(serde_json::json!({ "replicas": [] }));
    assert!(field == "replicas" && message.contains("nobody prefills"), "{field}: {message}");
    let (_, message) = complaint(serde_json::json!({ "replicas": groups(&["whole", "decode"]) }));
    assert!(message.contains("need each other"), "{message}");
    let apart = serde_json::json!({
        "replicas": groups(&["prefill", "decode"]),
        "scheduler": { "policy": "orca", "max_sequence_tokens": 100 }
    });
    assert_eq!(complaint(apart).0, "scheduler.policy");
    assert_eq!(complaint(serde_json::json!({ "clients": { "count": 0 } })).0, "clients.count");
    assert_eq!(complaint(serde_json::json!({ "clients": { "count": 1, "think_s": -1.0 } })).0, "clients.think_s");
    assert_eq!(complaint(serde_json::json!({ "clients": { "count": 1, "turns": 0 } })).0, "clients.turns");
    assert_eq!(complaint(serde_json::json!({ "transfer": { "gb_per_s": 0.0 } })).0, "transfer.gb_per_s");
    assert_eq!(complaint(serde_json::json!({ "replicas": [{ "kv_blocks": 0 }] })).0, "replicas");
}

#[test]
fn printed_and_parsed_again_a_configuration_is_the_same() {
    let config = Config {
        replicas: vec![
            Group { role: Role::Prefill, count: 2, ..Group::default() },
            Group { role: Role::Decode, kv_blocks: Some(9), profile: 1, count: 3 },
        ],
        routing: Routing::PowerOfTwo,
        clients: Some(Clients { count: 4, think_s: 0.5, turns: 3 }),
        ..Config::default()
    };
    config.check().unwrap();
    let printed = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&printed).unwrap(), config);
}
