use proptest::prelude::*;

use super::*;

fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

fn spliced(existing: &str, key: &str, value: &str) -> String {
    let bytes = Some(existing.as_bytes());
    splice(bytes, &pointer(key), value).unwrap().to_string()
}

fn refused(existing: &str, key: &str) -> JsonFault {
    splice(Some(existing.as_bytes()), &pointer(key), "new").unwrap_err()
}

#[test]
fn d3_all_but_the_value_stays_byte_for_byte() {
    let odd = "\u{feff}{ \"n\" :1.0e+05,\t\"s\":\"old\\u0041\" ,\r\n \"d\":1,\"d\":2}\r\n\n";
    assert_eq!(spliced(odd, "s", "new"), odd.replace("old\\u0041", "new"));
    assert_eq!(spliced("{\"a\":null}", "a", "x"), "{\"a\":\"x\"}");
}

#[test]
fn d3_a_missing_key_takes_the_style_of_its_neighbour() {
    let four = "{\n    \"a\": 1,\n    \"b\": {}\n}\n";
    assert_eq!(
        spliced(four, "s", "v"),
        "{\n    \"a\": 1,\n    \"b\": {},\n    \"s\": \"v\"\n}\n"
    );
    assert_eq!(
        spliced(four, "/b/s", "v"),
        "{\n    \"a\": 1,\n    \"b\": {\"s\": \"v\"}\n}\n"
    );
    assert_eq!(
        spliced("{\"a\":1}", "/x/y", "v"),
        "{\"a\":1,\"x\":{\"y\": \"v\"}}"
    );
    assert_eq!(spliced("{\"a\": 1}", "s", "v"), "{\"a\": 1, \"s\": \"v\"}");
    assert_eq!(
        spliced("", "/a~1b/c~0d", "v"),
        "{\"a/b\": {\"c~d\": \"v\"}}\n"
    );
    assert_eq!(spliced("[{\"s\":1}]", "/0/s", "v"), "[{\"s\":\"v\"}]");
}

#[test]
fn c9_what_would_lose_or_confuse_is_refused() {
    let twice = refused("{\"a\":1,\"\\u0061\":2}", "a");
    assert_eq!(twice.to_string(), "the key /a stands in it twice");
    assert!(matches!(
        refused("{\"a\":{}}", "a"),
        JsonFault::Occupied { .. }
    ));
    assert!(matches!(
        refused("{\"a\":1}", "/a/b"),
        JsonFault::NoObject { .. }
    ));
    assert!(matches!(refused("[1]", "/1"), JsonFault::NoElement { .. }));
    assert!(matches!(refused("[1]", "/00"), JsonFault::NoElement { .. }));
    assert_eq!(
        refused("{\n \"a\": 1,\n}", "a"),
        JsonFault::Syntax { line: 3, column: 1 }
    );
    assert!(matches!(refused("{} {}", "a"), JsonFault::Syntax { .. }));
    for key in ["", "/a~2", "/~"] {
        assert_eq!(key.parse::<Pointer>(), Err(JsonFault::Pointer), "{key}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-d\"\\\\]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a6_any_text_reads_back_and_the_rest_is_untouched(
        others in proptest::collection::btree_map("[a-d\"\\\\]{1,2}", json(), 0..4),
        key in "[a-dz/~\"]{1,2}",
        value in "\\PC{0,40}",
        pretty: bool,
    ) {
        let object = serde_json::Value::Object(others.into_iter().collect());
        let before = if pretty { format!("{object:#}\n") } else { object.to_string() };
        let pointer = Pointer(vec![key.clone()]);
        let result = splice(Some(before.as_bytes()), &pointer, &value);
        if matches!(object.get(&key), Some(old) if old.is_object() || old.is_array()) {
            let occupied = matches!(result, Err(JsonFault::Occupied { .. }));
            prop_assert!(occupied);
            return Ok(());
        }
        let after = result.unwrap();
        let mut expected = object;
        expected[&key] = value.clone().into();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&after).unwrap(), expected);
        let read = read_back(after.as_bytes(), &pointer).unwrap();
        prop_assert_eq!(read.as_str(), value.as_str());
        let again = splice(Some(after.as_bytes()), &pointer, "x").unwrap();
        let back = splice(Some(again.as_bytes()), &pointer, &value).unwrap();
        prop_assert_eq!(back.as_str(), after.as_str());
        // What was before the insertion, and after it, is still there.
        let common = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
        if pointer_is_new(&before, &pointer) {
            prop_assert!(after.as_bytes().ends_with(&before.as_bytes()[common..]));
        }
    }
}

fn pointer_is_new(before: &str, pointer: &Pointer) -> bool {
    matches!(locate(before, pointer), Ok(Spot::Missing(..)))
}
