//! Conditions on the properties of STAC items.

use serde_json::{Map, Value};

/// Conditions, each on a property.
pub(super) struct Query<'a>(Vec<(&'a str, Operator, &'a Value)>);

#[derive(Clone, Copy)]
enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
    StartsWith,
    EndsWith,
    Contains,
}

/// Operators by their names in the query extension of STAC's API.
const OPERATORS: [(&str, Operator); 10] = [
    ("eq", Operator::Eq),
    ("neq", Operator::Neq),
    ("lt", Operator::Lt),
    ("lte", Operator::Lte),
    ("gt", Operator::Gt),
    ("gte", Operator::Gte),
    ("in", Operator::In),
    ("startsWith", Operator::StartsWith),
    ("endsWith", Operator::EndsWith),
    ("contains", Operator::Contains),
];

impl<'a> Query<'a> {
    /// # Errors
    /// The problem of an unknown operator.
    pub(super) fn new(conditions: &'a Map<String, Value>) -> Result<Self, String> {
        let mut all = Vec::new();
        for (property, condition) in conditions {
            let Value::Object(operators) = condition else {
                all.push((property.as_str(), Operator::Eq, condition));
                continue;
            };
            for (name, value) in operators {
                let known = OPERATORS.iter().find(|(known, _)| known == name);
                let Some((_, operator)) = known else {
                    let names: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
                    return Err(format!("{name:?} of {property:?} is no operator; there are {names:?}"));
                };
                all.push((property.as_str(), *operator, value));
            }
        }
        Ok(Self(all))
    }

    /// Whether properties meet every condition.
    pub(super) fn holds(&self, properties: &Map<String, Value>) -> bool {
        self.0.iter().all(|(property, operator, value)| {
            properties.get(*property).filter(|own| !own.is_null()).is_some_and(|own| operator.holds(own, value))
        })
    }
}

impl Operator {
    fn holds(self, own: &Value, value: &Value) -> bool {
        let order = || match (own, value) {
            (Value::String(own), Value::String(value)) => Some(own.cmp(value)),
            (own, value) => own.as_f64()?.partial_cmp(&value.as_f64()?),
        };
        let texts = || Some((own.as_str()?, value.as_str()?));
        let equal = |value: &Value| own == value || (own.is_number() && own.as_f64() == value.as_f64());
        match self {
            Self::Eq => equal(value),
            Self::Neq => !equal(value),
            Self::Lt => order().is_some_and(std::cmp::Ordering::is_lt),
            Self::Lte => order().is_some_and(std::cmp::Ordering::is_le),
            Self::Gt => order().is_some_and(std::cmp::Ordering::is_gt),
            Self::Gte => order().is_some_and(std::cmp::Ordering::is_ge),
            Self::In => value.as_array().is_some_and(|list| list.iter().any(equal)),
            Self::StartsWith => texts().is_some_and(|(own, value)| own.starts_with(value)),
            Self::EndsWith => texts().is_some_and(|(own, value)| own.ends_with(value)),
            Self::Contains => texts().is_some_and(|(own, value)| own.contains(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_those_of_the_query_extension() {
        let properties = json!({"eo:cloud_cover": 12.5, "platform": "sentinel-2a", "when": "2024-05-02T10:00:00Z"});
        let properties = properties.as_object().unwrap();
        for (conditions, holds) in [
            (json!({"eo:cloud_cover": {"lt": 20}}), true),
            (json!({"eo:cloud_cover": {"lt": 20, "gte": 12.6}}), false),
            (json!({"platform": "sentinel-2a"}), true),
            (json!({"platform": {"in": ["sentinel-2b", "sentinel-2c"]}}), false),
            (json!({"platform": {"startsWith": "sentinel", "neq": "sentinel-2b"}}), true),
            (json!({"when": {"gte": "2024-05-01", "lt": "2024-06-01"}}), true),
            (json!({"absent": {"neq": 1}}), false),
        ] {
            let query = Query::new(conditions.as_object().unwrap()).unwrap();
            assert_eq!(query.holds(properties), holds, "{conditions}");
        }
        let wrong = json!({"eo:cloud_cover": {"below": 3}});
        assert!(Query::new(wrong.as_object().unwrap()).err().unwrap().contains("\"below\""));
    }
}
