//! Which paths and keys are looked at.

use crate::error::{Error, Kind, Result};

/// `--path` and `--ignore`, letters without case.
#[derive(Debug, Default)]
pub(super) struct Filter {
    files: Vec<String>,
    keys: Vec<String>,
    ignore: Vec<Vec<char>>,
}

fn folded(text: &str) -> String {
    text.trim_matches(['\\', '/']).replace('/', "\\").to_lowercase()
}

/// Whether `path` is `prefix` or lies below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('\\'))
}

impl Filter {
    pub(super) fn new(paths: &[String], ignore: &[String]) -> Result<Filter> {
        let mut out = Filter::default();
        for path in paths {
            let path = path.strip_prefix("C:").or_else(|| path.strip_prefix("c:")).unwrap_or(path);
            let path = folded(path);
            if path.starts_with("hkey_") { out.keys.push(path) } else { out.files.push(path) }
        }
        for glob in ignore {
            let glob = folded(glob);
            if glob.is_empty() {
                return Err(Error::new(Kind::Usage, "an empty pattern leaves out nothing"));
            }
            out.ignore.push(glob.chars().collect());
        }
        Ok(out)
    }

    /// Whether every file and key is looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.keys.is_empty() && self.ignore.is_empty()
    }

    /// Whether a file is compared. What lies below an ignored folder is never listed.
    pub(super) fn wants_file(&self, path: &str) -> bool {
        let path = folded(path);
        self.files.is_empty() && self.keys.is_empty() || self.files.iter().any(|prefix| is_below(&path, prefix))
    }

    /// Whether a folder or file, or what lies below it, may matter.
    pub(super) fn may_matter(&self, path: &str) -> bool {
        let path = folded(path);
        // A hive may lie anywhere.
        let leads = self.files.is_empty() || !self.keys.is_empty();
        let on_the_way = || self.files.iter().any(|prefix| is_below(&path, prefix) || is_below(prefix, &path));
        !self.ignores(&path) && (leads || on_the_way())
    }

    /// Whether keys of a hive whose root is this key may matter although its file is not asked for.
    pub(super) fn wants_hive(&self, root: &str) -> bool {
        let root = folded(root);
        self.keys.iter().any(|prefix| is_below(prefix, &root) || is_below(&root, prefix))
    }

    /// Whether a key is compared; its file is not asked for.
    pub(super) fn wants_key(&self, key: &str) -> bool {
        let key = folded(key);
        self.keys.iter().any(|prefix| is_below(&key, prefix))
    }

    /// Whether a key and all below it are left out.
    pub(super) fn ignores_key(&self, key: &str) -> bool {
        !self.ignore.is_empty() && self.ignores(&folded(key))
    }

    fn ignores(&self, path: &str) -> bool {
        if self.ignore.is_empty() {
            return false;
        }
        let path: Vec<char> = path.chars().collect();
        self.ignore.iter().any(|glob| matches(glob, &path))
    }
}

/// One token of a pattern.
#[derive(Clone, Copy)]
enum Token {
    Exactly(char),
    One,
    Within,
    Any,
}

fn tokens(glob: &[char]) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&c) = glob.get(at) {
        at += 1;
        out.push(match c {
            '?' => Token::One,
            '*' if glob.get(at) == Some(&'*') => {
                at += 1;
                Token::Any
            }
            '*' => Token::Within,
            c => Token::Exactly(c),
        });
    }
    out
}

/// Walks the pattern once for all its readings, so that no pattern takes longer than its length times the path's.
fn matches(glob: &[char], path: &[char]) -> bool {
    let tokens = tokens(glob);
    // Which positions of the pattern are reached; a star may stand for nothing.
    let mut at = vec![false; tokens.len() + 1];
    at[0] = true;
    let skip_stars = |at: &mut Vec<bool>| {
        for (i, token) in tokens.iter().enumerate() {
            at[i + 1] |= at[i] && matches!(token, Token::Within | Token::Any);
        }
    };
    skip_stars(&mut at);
    for &c in path {
        let mut next = vec![false; at.len()];
        for (i, token) in tokens.iter().enumerate().filter(|(i, _)| at[*i]) {
            match token {
                Token::Exactly(want) => next[i + 1] |= *want == c,
                Token::One => next[i + 1] |= c != '\\',
                Token::Within => next[i] |= c != '\\',
                Token::Any => next[i] = true,
            }
        }
        skip_stars(&mut next);
        at = next;
    }
    at[tokens.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(paths: &[&str], ignore: &[&str]) -> Filter {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Filter::new(&own(paths), &own(ignore)).unwrap()
    }

    #[test]
    fn prefixes_are_whole_names() {
        let f = filter(&[r"C:\Windows\System32", "Users/ann"], &[]);
        assert!(f.wants_file(r"\windows\system32\config") && f.wants_file(r"\Users\Ann"));
        assert!(!f.wants_file(r"\Windows\System32x") && !f.wants_file(r"\Windows"));
        assert!(f.may_matter(r"\Windows") && f.may_matter(r"\Users") && !f.may_matter(r"\Users\bob"));
    }

    #[test]
    fn keys_are_prefixes_too() {
        let f = filter(&[r"HKEY_LOCAL_MACHINE\SYSTEM\Setup"], &[]);
        assert!(f.may_matter(r"\Windows\anything") && !f.wants_file(r"\Windows\anything"));
        assert!(f.wants_hive(r"HKEY_LOCAL_MACHINE\SYSTEM") && !f.wants_hive(r"HKEY_LOCAL_MACHINE\SAM"));
        assert!(f.wants_key(r"HKEY_LOCAL_MACHINE\system\setup\x") && !f.wants_key(r"HKEY_LOCAL_MACHINE\SYSTEM"));
    }

    #[test]
    fn patterns() {
        let ignored = |glob: &str, path: &str| !filter(&[], &[glob]).may_matter(path);
        assert!(ignored(r"Windows\*.log", r"\windows\a.LOG") && !ignored(r"Windows\*.log", r"\Windows\x\a.log"));
        assert!(ignored(r"**.log", r"\Windows\x\a.log") && ignored(r"**\Temp", r"\a\b\Temp"));
        assert!(ignored("a?c", r"\abc") && !ignored("a?c", r"\a\c") && !ignored("a?c", r"\ac"));
        assert!(ignored("*", r"\abc") && ignored("**", r"\a\b"));
        assert!(Filter::new(&[], &[String::new()]).is_err());
        let long = "*a".repeat(200);
        assert!(
            !ignored(&long, &format!(r"\{}", "a".repeat(199))) && ignored(&long, &format!(r"\{}", "a".repeat(200)))
        );
    }
}
