//! `slipway explain` and `slipway schema`.

use super::Done;
use super::arguments::Common;
use super::failure::Failure;
use super::table::Table;
use super::terminal::{Paint, say, say_json, width};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Longer lines are harder to read, however wide the terminal is.
const LINE_MAX: usize = 88;

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    common: Common,
    /// The code, such as SW-202; without one all are listed.
    code: Option<String>,
}

#[derive(Debug, Args)]
pub struct Schema {
    #[command(flatten)]
    common: Common,
    /// application, services, routes or upsun; without a name one document holds all four.
    name: Option<String>,
    /// Write the files here instead.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// One explanation.
struct Known {
    id: String,
    title: String,
    remedy: String,
    explanation: String,
}

impl Known {
    fn json(&self) -> Value {
        json!({"code": self.id, "title": self.title, "remedy": self.remedy, "explanation": self.explanation})
    }
}

fn all() -> Vec<Known> {
    let known = |id: &str, title: &str, remedy: &str, explanation: &str| Known {
        id: id.into(),
        title: title.into(),
        remedy: remedy.into(),
        explanation: explanation.into(),
    };
    let mut all: Vec<Known> = slipway_manifest::all_codes().iter().map(|c| known(c.id, c.title, c.remedy, c.explanation)).collect();
    all.push(known(
        "SW-SUBMODULE",
        "submodule",
        "Put the files into the repository (git subtree add), or install them as dependencies of the build.",
        "The repository refers to another one as a submodule. Its files would be missing in the build, since submodules are not fetched yet; so the push is refused.",
    ));
    let sentence = |text: &str| text.split_once(['.', ',']).map_or(text, |(first, _)| first).to_string();
    all.extend(slipway_advisories::problem::CODES.iter().map(|(id, text)| known(id, &sentence(text), "", text)));
    all
}

impl Explain {
    pub fn run(self) -> Done {
        let all = all();
        let Some(code) = self.code else {
            if self.common.json() {
                say_json(&all.iter().map(Known::json).collect());
            } else {
                let mut table = Table::new(["CODE", "MEANING"]);
                for known in &all {
                    table.row([known.id.clone(), known.title.clone()]);
                }
                table.print();
            }
            return Ok(ExitCode::SUCCESS);
        };
        let wanted = code.trim();
        // `slipway explain 202` is what somebody types who reads a code aloud.
        let found = all.iter().find(|k| k.id.eq_ignore_ascii_case(wanted) || k.id.trim_start_matches("SW-").eq_ignore_ascii_case(wanted));
        let Some(known) = found else {
            return Err(Failure::new(format!("there is no code '{wanted}'"), "complaints carry theirs in brackets at the end, such as (SW-202)")
                .help("slipway explain lists all codes"));
        };
        if self.common.json() {
            say_json(&known.json());
        } else {
            let width = width().min(LINE_MAX);
            say(format!("{} {}\n\n{}", Paint::stdout().bold(&known.id), known.title, wrapped(&known.explanation, width)));
            if !known.remedy.is_empty() {
                say(format!("\n{}", wrapped(&format!("Remedy: {}", known.remedy), width)));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            out.push('\n');
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    format!("{out}\n")
}

impl Schema {
    pub fn run(self) -> Done {
        let schemas = slipway_manifest::schemas();
        let chosen: Vec<_> = match &self.name {
            None => schemas,
            Some(name) => {
                let wanted = name.trim_end_matches(".json").trim_end_matches(".schema");
                let known: Vec<String> = schemas.iter().map(|(file, _)| file.trim_end_matches(".schema.json").to_string()).collect();
                let found: Vec<_> = schemas.into_iter().filter(|(file, _)| file.trim_end_matches(".schema.json") == wanted).collect();
                if found.is_empty() {
                    return Err(Failure::blind(format!("there is no schema '{name}'"), format!("there are: {}", known.join(", "))));
                }
                found
            }
        };
        if let Some(folder) = &self.to {
            let failed = |error: std::io::Error| Failure::blind("could not write the schemas", error).at(folder.display());
            std::fs::create_dir_all(folder).map_err(failed)?;
            for (file, schema) in &chosen {
                std::fs::write(folder.join(file), format!("{schema:#}\n")).map_err(failed)?;
            }
            let files: Vec<String> = chosen.iter().map(|(file, _)| folder.join(file).display().to_string()).collect();
            if self.common.json() {
                say_json(&json!({"written": files}));
            } else {
                say(format!("{}\n", files.join("\n")));
            }
        } else if let (Some(_), [(_, schema)]) = (&self.name, chosen.as_slice()) {
            say_json(schema);
        } else {
            let map: Map<String, Value> = chosen.into_iter().map(|(file, schema)| (file.to_string(), schema)).collect();
            say_json(&Value::Object(map));
        }
        Ok(ExitCode::SUCCESS)
    }
}
