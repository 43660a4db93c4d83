//! JSON Schemas for editors, made from the tables that the checker walks.

use crate::app_shape::APPLICATION;
use crate::flavour::Flavour;
use crate::kinds::{ENGINES, RUNTIMES};
use crate::route_shape::{PROXY, REDIRECT, UPSTREAM};
use crate::service_shape::{SERVICE, configuration};
use crate::shape::{Shape, Table, describe};
use serde_json::{Map, Value, json};

/// File name and schema: application file, services file, routes file, and Upsun's one file.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("application.schema.json", application_file()),
        ("services.schema.json", services_file()),
        ("routes.schema.json", routes_file()),
        ("upsun.schema.json", upsun_file()),
    ]
}

struct Writer {
    flavour: Flavour,
    definitions: Map<String, Value>,
}

impl Writer {
    fn new(flavour: Flavour) -> Writer {
        Writer {
            flavour,
            definitions: Map::new(),
        }
    }

    fn document(mut self, title: &str, body: Value) -> Value {
        let mut document =
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
        if let (Value::Object(document), Value::Object(body)) = (&mut document, body) {
            document.extend(body);
            self.definitions.sort_keys();
            document.insert("$defs".to_owned(), Value::Object(self.definitions));
        }
        document
    }

    fn reference(&mut self, table: &'static Table) -> Value {
        if !self.definitions.contains_key(table.name) {
            self.definitions.insert(table.name.to_owned(), Value::Null);
            let schema = self.table(table);
            self.definitions.insert(table.name.to_owned(), schema);
        }
        json!({"$ref": format!("#/$defs/{}", table.name)})
    }

    fn table(&mut self, table: &'static Table) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let flavour = self.flavour;
        for key in table
            .keys
            .iter()
            .filter(|key| key.flavours.contains(&flavour))
        {
            let shape = self.shape(&key.shape);
            // A key without a value is a key not given.
            let mut schema = if key.required { shape } else { nullable(shape) };
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), json!(key.doc));
            }
            properties.insert(key.name.to_owned(), schema);
            if key.required {
                required.push(key.name);
            }
        }
        let mut schema =
            json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn shape(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Any => json!({}),
            Shape::Null => json!({"type": "null"}),
            Shape::Text => json!({"type": "string"}),
            Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Int { min, max, .. } => {
                json!({"type": "integer", "minimum": min, "maximum": max})
            }
            Shape::IntChoice { choices, .. } => json!({"enum": choices}),
            Shape::Choice(choices) => json!({"enum": choices}),
            Shape::Format { what, .. } => json!({"type": "string", "title": what}),
            Shape::Duration { .. } => {
                json!({"type": ["integer", "string"], "title": describe(shape)})
            }
            // `!archive`, whose value editors read as text.
            Shape::Archive => json!({"type": "string", "title": describe(shape)}),
            Shape::Table(table) => self.reference(table),
            Shape::List(item) => json!({"type": "array", "items": self.shape(item)}),
            Shape::Map { value, .. } => {
                json!({"type": "object", "additionalProperties": self.shape(value)})
            }
            Shape::OneOf { shapes, .. } => {
                json!({"anyOf": shapes.iter().map(|shape| self.shape(shape)).collect::<Vec<_>>()})
            }
        }
    }
}

fn nullable(schema: Value) -> Value {
    match schema {
        Value::Object(map) if map.is_empty() => Value::Object(map),
        schema => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn application(writer: &mut Writer, named: bool) -> Value {
    let mut schema = writer.table(&APPLICATION);
    let known: Vec<String> = RUNTIMES
        .iter()
        .map(|runtime| runtime.name.to_owned())
        .collect();
    schema["properties"]["type"] = json!({"type": "string", "pattern": format!("^({})(:.+)?$", known.join("|")), "description": "Runtime and version, such as php:8.3"});
    let runs =
        json!([{"required": ["type"]}, {"required": ["stack"]}, {"required": ["toolstack"]}]);
    schema["anyOf"] = runs;
    if named {
        schema["required"] = json!(["name"]);
    }
    schema
}

fn application_file() -> Value {
    let mut writer = Writer::new(Flavour::Platform);
    let body = application(&mut writer, true);
    writer.document(
        "Application file (.platform.app.yaml, .magento.app.yaml)",
        body,
    )
}

fn services(writer: &mut Writer) -> Value {
    let mut service = writer.table(&SERVICE);
    let known: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
    service["properties"]["type"] = json!({"type": "string", "pattern": format!("^({})(:.+)?$", known.join("|")), "description": "Service and version, such as mariadb:10.6"});
    let by_type: Vec<Value> = ENGINES
        .iter()
        .filter_map(|engine| {
            let configuration = writer.reference(configuration(engine.name)?);
            Some(json!({
                "if": {"properties": {"type": {"pattern": format!("^{}(:|$)", engine.name)}}, "required": ["type"]},
                "then": {"properties": {"configuration": nullable(configuration)}},
            }))
        })
        .collect();
    service["allOf"] = json!(by_type);
    json!({"type": ["object", "null"], "additionalProperties": service})
}

fn services_file() -> Value {
    let mut writer = Writer::new(Flavour::Platform);
    let body = services(&mut writer);
    writer.document("Services file (services.yaml)", body)
}

fn routes(writer: &mut Writer) -> Value {
    let mut kinds = Vec::new();
    for (name, table, companion) in [
        ("upstream", &UPSTREAM, "upstream"),
        ("redirect", &REDIRECT, "to"),
        ("proxy", &PROXY, "to"),
    ] {
        let mut schema = writer.table(table);
        schema["properties"]["type"] = json!({"const": name});
        schema["required"] = json!(["type", companion]);
        kinds.push(schema);
    }
    json!({"type": ["object", "null"], "propertyNames": {"pattern": "^https?://"}, "additionalProperties": {"oneOf": kinds}})
}

fn routes_file() -> Value {
    let mut writer = Writer::new(Flavour::Platform);
    let body = routes(&mut writer);
    writer.document("Routes file (routes.yaml)", body)
}

fn upsun_file() -> Value {
    let mut writer = Writer::new(Flavour::Upsun);
    let mut application = application(&mut writer, false);
    if let Some(properties) = application["properties"].as_object_mut() {
        properties.shift_remove("name");
    }
    let (services, routes) = (services(&mut writer), routes(&mut writer));
    let body = json!({
        "type": ["object", "null"],
        "properties": {
            "applications": {"type": ["object", "null"], "additionalProperties": application},
            "services": services,
            "routes": routes,
        },
        "additionalProperties": false,
    });
    writer.document("Project file (.upsun/config.yaml)", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_definition() {
        for (name, schema) in schemas() {
            let text = schema.to_string();
            for part in text.split("#/$defs/").skip(1) {
                let definition = part.split('"').next().unwrap_or_default();
                assert!(
                    schema["$defs"][definition].is_object(),
                    "{name}: {definition}"
                );
            }
        }
    }

    #[test]
    fn no_two_tables_share_a_name() {
        let (_, application) = &schemas()[0];
        assert!(application["$defs"]["worker_commands"]["properties"]["pre_start"].is_object());
        assert!(application["$defs"]["web_commands"]["properties"]["post_start"].is_object());
    }
}
