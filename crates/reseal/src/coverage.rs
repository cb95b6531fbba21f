//! What Sysprep does, row by row, and what answers it here. The rows are data: `crates/reseal/rules/coverage.toml`.

use crate::error::{Error, Kind, Result};
use crate::steps::Evidence;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const DATA: &str = include_str!("../rules/coverage.toml");

/// A table of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverageTable {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: Vec<CoverageRow>,
}

/// One thing that Sysprep does, or is known to stumble over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverageRow {
    /// What.
    pub what: String,
    /// Who answers it.
    pub answers: Vec<Answer>,
    /// A remark.
    pub remark: String,
}

/// What answers a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// step, check, lint, verify, recipe or limit.
    pub kind: String,
    /// Id of the step or the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What a step or a check rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The test that shows it, as file::function; a limit has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixture: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    fixtures: Fixtures,
    table: Vec<DataTable>,
}

/// Names of tests.
#[derive(Deserialize)]
struct Fixtures {
    /// Of steps that `steps` does not name.
    step: String,
    check: String,
    lint: String,
    recipe: String,
    verify: String,
    steps: BTreeMap<String, String>,
}

impl Fixtures {
    fn of(&self, kind: &str, id: Option<&str>) -> Option<String> {
        let known = match kind {
            "step" => id.and_then(|id| self.steps.get(id)).unwrap_or(&self.step),
            "check" => &self.check,
            "lint" => &self.lint,
            "recipe" => &self.recipe,
            "verify" => &self.verify,
            _ => return None,
        };
        Some(known.clone())
    }
}

#[derive(Deserialize)]
struct DataTable {
    name: String,
    rows: Vec<(String, String, String)>,
}

/// The coverage tables. `Internal` when the data names a step or a check that there is not.
pub fn coverage() -> Result<Vec<CoverageTable>> {
    let Data { fixtures, table: tables } = toml::from_str(DATA)
        .map_err(|e| Error::new(Kind::Internal, format!("the coverage tables cannot be read: {e}")))?;
    let row = |(what, answers, remark): (String, String, String)| -> Result<CoverageRow> {
        let one = |text| answer(text, &fixtures);
        let answers = answers.split(' ').map(one).collect::<Result<_>>().map_err(|e| e.subject(what.clone()))?;
        Ok(CoverageRow { what, answers, remark })
    };
    let table = |table: DataTable| -> Result<CoverageTable> {
        Ok(CoverageTable { name: table.name, rows: table.rows.into_iter().map(row).collect::<Result<_>>()? })
    };
    tables.into_iter().map(table).collect()
}

fn answer(text: &str, fixtures: &Fixtures) -> Result<Answer> {
    let unknown = || Error::new(Kind::Internal, format!("`{text}` answers nothing"));
    let (kind, id) = text.split_once(':').map_or((text, None), |(kind, id)| (kind, Some(id)));
    let evidence = match (kind, id) {
        ("step", Some(id)) => crate::catalogue().find(|spec| spec.id == id).map(|spec| spec.evidence),
        ("check", Some(id)) => crate::checks().find(|check| check.id == id).map(|check| check.evidence),
        ("lint" | "verify" | "recipe" | "limit", None) => {
            return Ok(Answer { kind: kind.to_owned(), id: None, evidence: None, fixture: fixtures.of(kind, None) });
        }
        _ => None,
    };
    let evidence = Some(evidence.ok_or_else(unknown)?);
    Ok(Answer { kind: kind.to_owned(), id: id.map(str::to_owned), evidence, fixture: fixtures.of(kind, id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<CoverageRow> {
        coverage().unwrap().into_iter().flat_map(|table| table.rows).collect()
    }

    #[test]
    fn every_row_has_an_answer_and_a_limit_says_why() {
        for row in rows() {
            let limits = row.answers.iter().filter(|answer| answer.kind == "limit").count();
            assert!(!row.answers.is_empty(), "{}", row.what);
            assert!(limits == 0 || !row.remark.is_empty(), "{}: a limit without a word", row.what);
        }
    }

    #[test]
    fn every_answer_but_a_limit_has_a_fixture() {
        for row in rows() {
            for answer in row.answers {
                assert_eq!(answer.fixture.is_none(), answer.kind == "limit", "{}", row.what);
            }
        }
        let data: Data = toml::from_str(DATA).unwrap();
        for id in data.fixtures.steps.keys() {
            assert!(crate::catalogue().any(|spec| spec.id == id), "{id}");
        }
        // Without an entry of its own a step is one of the tables, whose places the test of canaries takes from them.
        for spec in crate::catalogue().filter(|spec| !data.fixtures.steps.contains_key(spec.id)) {
            let is_table = spec.writes.contains(&crate::Scope::Rules);
            assert!(is_table || spec.id == "event-logs", "{}", spec.id);
        }
    }

    #[test]
    fn every_provider_that_a_step_mirrors_is_a_row_that_names_the_step() {
        let rows = rows();
        for spec in crate::catalogue() {
            for mirror in spec.mirrors.iter().filter(|mirror| mirror.contains('!')) {
                let file = mirror.rsplit('\\').next().unwrap().to_ascii_lowercase();
                let row = rows.iter().find(|row| row.what.to_ascii_lowercase().contains(&file));
                let row = row.unwrap_or_else(|| panic!("{mirror} has no row"));
                assert!(
                    row.answers.iter().any(|a| a.id.as_deref() == Some(spec.id)),
                    "{} without {}",
                    row.what,
                    spec.id
                );
            }
        }
    }

    #[test]
    fn every_guard_answers_a_row() {
        let rows = rows();
        let answered = |id: &str| rows.iter().flat_map(|row| &row.answers).any(|a| a.id.as_deref() == Some(id));
        // What Sysprep does not look at, since it runs inside of a Windows that works.
        let own = ["refs", "dirty-hive", "open-transaction"];
        for check in crate::checks().filter(|check| check.guard.is_some() && !own.contains(&check.id)) {
            assert!(answered(check.id), "{}", check.id);
        }
    }
}
