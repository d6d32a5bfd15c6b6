//! Files of answers: CSV (RFC 4180) with a line of names first, or JSON, a list or one document after the other.
//! What is wrong is told by its line, and never quotes what was read.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::admin::api::AnswerGiven;
use crate::secret::Secret;

/// One person of the file.
#[derive(Debug)]
pub(super) struct Person {
    /// Where the person begins, from 1.
    pub(super) line: usize,
    pub(super) user: String,
    pub(super) directory: Option<String>,
    pub(super) answers: Vec<AnswerGiven>,
}

/// What is wrong with a line.
pub(super) type Fault = (usize, &'static str);

/// The people of a file, and what is wrong with it. Who is part of a fault is none of the people.
pub(super) fn people(text: &str) -> (Vec<Person>, Vec<Fault>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut people, mut faults) = match text.trim_start().chars().next() {
        Some('[' | '{') => from_json(text),
        Some(_) => from_csv(text),
        None => (Vec::new(), vec![(1, "the file is empty")]),
    };
    let mut first: HashMap<(String, Option<String>), usize> = HashMap::new();
    people.retain(|person| {
        let name = (person.user.trim().to_lowercase(), person.directory.clone());
        let fresh = *first.entry(name).or_insert(person.line) == person.line;
        if !fresh {
            faults.push((person.line, "this person is in the file already"));
        }
        fresh
    });
    faults.sort_unstable();
    (people, faults)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    user: String,
    #[serde(default)]
    directory: Option<String>,
    answers: Vec<AnswerGiven>,
}

fn from_json(text: &str) -> (Vec<Person>, Vec<Fault>) {
    let mut people = Vec::new();
    let (mut at, mut line, mut counted) = (0, 1, 0);
    loop {
        // Between documents: blanks, and what makes a list of them.
        let rest = text.get(at..).unwrap_or_default();
        at += rest.len()
            - rest
                .trim_start_matches(|letter: char| letter.is_whitespace() || "[],".contains(letter))
                .len();
        let rest = text.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return (people, Vec::new());
        }
        line += text.get(counted..at).map_or(0, |passed| passed.matches('\n').count());
        counted = at;
        let mut documents = serde_json::Deserializer::from_str(rest).into_iter::<RawPerson>();
        match documents.next() {
            Some(Ok(person)) => people.push(Person {
                line,
                user: person.user,
                directory: person.directory,
                answers: person.answers,
            }),
            Some(Err(error)) => {
                let what = match error.classify() {
                    serde_json::error::Category::Data => {
                        "this is not a person: {\"user\": …, \"answers\": [{\"question\": …, \"answer\": …}]}"
                    }
                    serde_json::error::Category::Io
                    | serde_json::error::Category::Syntax
                    | serde_json::error::Category::Eof => "this is not JSON",
                };
                // Where the next document would begin is not known.
                return (people, vec![(line + error.line().saturating_sub(1), what)]);
            }
            None => return (people, Vec::new()),
        }
        at += documents.byte_offset();
    }
}

fn from_csv(text: &str) -> (Vec<Person>, Vec<Fault>) {
    let (rows, broken) = rows(text);
    let mut faults: Vec<Fault> = broken.iter().map(|((line, _), what)| (*line, *what)).collect();
    let mut rows = rows.into_iter();
    let Some((head_line, head)) = rows.next() else {
        return (Vec::new(), faults);
    };
    let columns = match Columns::of(&head) {
        Ok(columns) => columns,
        Err(what) => return (Vec::new(), vec![(head_line, what)]),
    };
    let mut people: Vec<Person> = Vec::new();
    let mut known: HashMap<(String, Option<String>), usize> = HashMap::new();
    let mut faulty: HashSet<(String, Option<String>)> = HashSet::new();
    for (line, row) in rows {
        let field = |column: Option<usize>| column.and_then(|at| row.get(at)).map(|field| field.trim());
        let text = |column| field(column).filter(|field| !field.is_empty()).map(str::to_owned);
        let Some(user) = text(Some(columns.user)) else {
            faults.push((line, "no user"));
            continue;
        };
        let directory = text(columns.directory);
        let name = (user.to_lowercase(), directory.clone());
        let answer = field(Some(columns.answer)).unwrap_or_default();
        let fault = match text(Some(columns.question)) {
            _ if row.len() != head.len() => Some("not as many fields as the first line has names"),
            None => Some("no question"),
            Some(_) if answer.is_empty() => Some("no answer"),
            Some(question) => {
                let index = *known.entry(name.clone()).or_insert_with(|| {
                    people.push(Person {
                        line,
                        user: user.clone(),
                        directory: directory.clone(),
                        answers: Vec::new(),
                    });
                    people.len() - 1
                });
                if let Some(person) = people.get_mut(index) {
                    person.answers.push(AnswerGiven {
                        question,
                        own: text(columns.own),
                        answer: Secret::new(answer),
                    });
                }
                None
            }
        };
        if let Some(what) = fault {
            faults.push((line, what));
            faulty.insert(name);
        }
    }
    // As far as it can be read, whose line it was.
    for ((_, row), _) in &broken {
        let user = row.get(columns.user).map(|user| user.trim().to_lowercase());
        let directory = columns.directory.and_then(|at| row.get(at)).map(|field| field.trim());
        let directory = directory.filter(|field| !field.is_empty()).map(str::to_owned);
        faulty.extend(user.map(|user| (user, directory)));
    }
    // With an answer missing the rest of a person is not what was meant.
    people.retain(|person| !faulty.contains(&(person.user.to_lowercase(), person.directory.clone())));
    (people, faults)
}

/// Which field of a line is what.
struct Columns {
    user: usize,
    directory: Option<usize>,
    question: usize,
    own: Option<usize>,
    answer: usize,
}

impl Columns {
    fn of(head: &[Zeroizing<String>]) -> Result<Self, &'static str> {
        let find = |name: &str| head.iter().position(|field| field.trim().eq_ignore_ascii_case(name));
        let known = |field: &Zeroizing<String>| {
            let names = ["user", "directory", "question", "own", "answer"];
            names.iter().any(|name| field.trim().eq_ignore_ascii_case(name))
        };
        if !head.iter().all(known) {
            return Err(
                "the first line must name the columns: user, question, answer, and if needed own and directory",
            );
        }
        let missing = "the first line must name the columns user, question and answer";
        Ok(Self {
            user: find("user").ok_or(missing)?,
            directory: find("directory"),
            question: find("question").ok_or(missing)?,
            own: find("own"),
            answer: find("answer").ok_or(missing)?,
        })
    }
}

type Row = (usize, Vec<Zeroizing<String>>);

/// The lines of a CSV text with their numbers; fields in quotes may go over several. The separator is a comma, or
/// what the first line has instead: a semicolon or a tab.
///
/// Beside them those that are broken, as far as they were read.
fn rows(text: &str) -> (Vec<Row>, Vec<(Row, &'static str)>) {
    let head = text.lines().next().unwrap_or_default();
    let separator = [',', ';', '\t']
        .into_iter()
        .find(|mark| head.contains(*mark))
        .unwrap_or(',');
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    let mut letters = text.chars().peekable();
    let mut line = 1;
    while letters.peek().is_some() {
        let began = line;
        let mut row: Vec<Zeroizing<String>> = vec![Zeroizing::default()];
        let mut fault = None;
        let mut quoted = false;
        let mut was_quoted = false;
        while let Some(letter) = letters.next() {
            let Some(field) = row.last_mut() else { break };
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => {
                    letters.next();
                    field.push('"');
                }
                '"' if quoted => quoted = false,
                '"' if field.trim().is_empty() && !was_quoted => {
                    field.clear();
                    quoted = true;
                    was_quoted = true;
                }
                '"' => fault = Some("a quote within a field that does not begin with one"),
                '\n' => {
                    line += 1;
                    if !quoted {
                        break;
                    }
                    field.push('\n');
                }
                '\r' if !quoted => {}
                mark if mark == separator && !quoted => {
                    row.push(Zeroizing::default());
                    was_quoted = false;
                }
                other if was_quoted && !quoted && !other.is_whitespace() => {
                    fault = Some("something stands behind the closing quote of a field");
                }
                other => field.push(other),
            }
        }
        if quoted {
            fault = Some("a quote is not closed");
        }
        match fault {
            Some(what) => broken.push(((began, row), what)),
            None if row.iter().all(|field| field.trim().is_empty()) => {}
            None => rows.push((began, row)),
        }
    }
    (rows, broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, Vec<Fault>) {
        let (people, faults) = people(text);
        let told = people.iter().map(|person| {
            let answers = person.answers.iter().map(|one| {
                let own = one.own.as_ref().map(|own| format!("({own})")).unwrap_or_default();
                format!("{}{own}={}", one.question, one.answer.expose_str().unwrap())
            });
            let directory = person
                .directory
                .as_ref()
                .map(|name| format!("@{name}"))
                .unwrap_or_default();
            let answers: Vec<String> = answers.collect();
            format!("{} {}{directory} {}", person.line, person.user, answers.join(" "))
        });
        (told.collect(), faults)
    }

    #[test]
    fn csv_of_every_kind() {
        let (people, faults) = read(
            "\u{feff}User,question,own,answer\r\nana,school,,\"St. \"\"Mary\"\"s\"\r\n\r\nben,street,,Main\r\n\
             ana,own,First pet?,\"two\nlines\"\r\nana,book,,Ulysses",
        );
        assert_eq!(
            people,
            [
                "2 ana school=St. \"Mary\"s own(First pet?)=two\nlines book=Ulysses",
                "4 ben street=Main"
            ]
        );
        assert_eq!(faults, []);
        let (people, faults) = read("user;directory;question;answer\nana;guests;school;St, Mary\n");
        assert_eq!(
            (people, faults),
            (vec!["2 ana@guests school=St, Mary".to_owned()], vec![])
        );
    }

    #[test]
    fn a_fault_of_one_line_takes_its_person_out_and_nobody_else() {
        let (people, faults) = read(
            "user,question,answer\nana,school,Mary\nana,street\nben,school,\nben,book,x\n,book,y\ncarol,school,\"open \
             \"quote\"\ndora,,z\neve,book,Ulysses\nfay,a\"b,c\n",
        );
        assert_eq!(people, ["9 eve book=Ulysses"]);
        let lines: Vec<usize> = faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 6, 7, 8, 10]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told_where_it_opens() {
        let (people, faults) = read("user,question,answer\nana,school,Mary\nben,school,\"Mary\ncarol,school,Anne\n");
        assert_eq!(people, ["2 ana school=Mary"]);
        assert_eq!(faults, [(3, "a quote is not closed")]);
    }

    #[test]
    fn a_line_that_cannot_be_read_takes_its_person_out_too() {
        let (people, faults) = read(
            "user,question,answer\nana,school,Mary\nAna,book,\"Ulysses\" x\nben,school,Mary\nben,book,\"Ulysses\ncarol,a,b\n",
        );
        assert_eq!(people, Vec::<String>::new());
        assert_eq!(faults.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn columns_have_names() {
        for text in ["ana,school,Mary\n", "user,question\n", "user,question,answer,extra\n"] {
            let (people, faults) = read(text);
            assert!(people.is_empty(), "{text}");
            assert_eq!(faults.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1], "{text}");
        }
        assert_eq!(read("\n").1.len(), 1);
    }

    #[test]
    fn json_lists_and_lines() {
        let ana = r#"{"user": "ana", "answers": [{"question": "own", "own": "Pet?", "answer": "Rex"}]}"#;
        let ben = r#"{"user": "ben", "directory": "guests",
            "answers": []}"#;
        let list = format!("[\n{ana},\n{ben}\n]\n");
        assert_eq!(read(&list).0, ["2 ana own(Pet?)=Rex", "3 ben@guests "]);
        let lines = format!("{ana}\n{ben}\n");
        assert_eq!(read(&lines).0, ["1 ana own(Pet?)=Rex", "2 ben@guests "]);
        let (people, faults) = read(&format!("{ana}\n{{\"user\": \"ben\",\n\"answer\": 1}}\n{ana}"));
        assert_eq!(people, ["1 ana own(Pet?)=Rex"]);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].0, 3, "{faults:?}");
        assert!(faults[0].1.starts_with("this is not a person"));
        assert_eq!(read("[{]").1, [(1, "this is not JSON")]);
    }

    #[test]
    fn nobody_is_in_a_json_file_twice() {
        let ana = r#"{"user": "ana", "answers": []}"#;
        let upper = r#"{"user": " ANA", "answers": []}"#;
        let (people, faults) = read(&format!("{ana}\n{upper}\n"));
        assert_eq!(people, ["1 ana "]);
        assert_eq!(faults, [(2, "this person is in the file already")]);
    }
}
