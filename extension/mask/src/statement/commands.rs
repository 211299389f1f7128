//! Commands of Redis and its kin without the values in them.

use std::borrow::Cow;

/// Marks for the arguments of one command.
const MAX_MARKS: usize = 16;
/// Bytes of a key that are shown.
const MAX_KEY_BYTES: usize = 256;

/// Commands whose first word behind the name is no key.
const WITHOUT_KEY: &[&str] = &[
    "acl",
    "auth",
    "client",
    "config",
    "debug",
    "echo",
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "fcall",
    "fcall_ro",
    "function",
    "hello",
    "latency",
    "memory",
    "migrate",
    "module",
    "ping",
    "script",
    "sentinel",
    "slowlog",
];

/// Commands that are known where a line break may as well be one of a value.
const KNOWN: &[&str] = &[
    "append",
    "decr",
    "decrby",
    "del",
    "discard",
    "exec",
    "exists",
    "expire",
    "expireat",
    "geoadd",
    "get",
    "getdel",
    "getex",
    "getrange",
    "getset",
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hset",
    "hsetnx",
    "hvals",
    "incr",
    "incrby",
    "incrbyfloat",
    "keys",
    "lindex",
    "llen",
    "lpop",
    "lpush",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "mget",
    "mset",
    "msetnx",
    "multi",
    "persist",
    "pexpire",
    "ping",
    "psetex",
    "pttl",
    "publish",
    "rename",
    "rpop",
    "rpoplpush",
    "rpush",
    "sadd",
    "scan",
    "scard",
    "select",
    "set",
    "setex",
    "setnx",
    "setrange",
    "sismember",
    "smembers",
    "spop",
    "srem",
    "strlen",
    "subscribe",
    "sunion",
    "ttl",
    "type",
    "unlink",
    "unwatch",
    "watch",
    "xack",
    "xadd",
    "xlen",
    "xrange",
    "xread",
    "xreadgroup",
    "zadd",
    "zcard",
    "zcount",
    "zincrby",
    "zrange",
    "zrangebyscore",
    "zrank",
    "zrem",
    "zrevrange",
    "zscore",
];

/// Whether a text begins with a known command, and goes on.
pub(super) fn is_command(text: &str) -> bool {
    let Some((name, _)) = text.split_once(' ') else { return false };
    KNOWN.iter().chain(WITHOUT_KEY).any(|known| name.eq_ignore_ascii_case(known))
}

/// Name and key of the first command, names of those below it, and a mark for each value (PL-42, PL-51).
#[cold]
pub(super) fn commands(text: &str) -> Cow<'_, str> {
    let mut shown = String::with_capacity(text.len().min(512));
    for (number, line) in text.split(['\n', ';']).enumerate() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'|'));
        let is_known = KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known));
        if number > 0 {
            shown.push('\n');
        }
        shown.push_str(if is_name && (number == 0 || is_known) { name } else { "?" });
        let has_key =
            number == 0 && is_name && !WITHOUT_KEY.iter().any(|known| name.eq_ignore_ascii_case(known));
        if has_key && let Some(key) = words.next() {
            shown.push(' ');
            match key.char_indices().find(|(at, _)| *at >= MAX_KEY_BYTES) {
                Some((end, _)) => shown.push_str(&key[..end]),
                None => shown.push_str(key),
            }
        }
        let rest = words.clone().collect::<Vec<_>>();
        // As an instrumentation of Node.js counts them.
        if let [count, others @ ..] = &rest[..]
            && matches!(others, ["other", "arguments]"])
            && count.strip_prefix('[').is_some_and(|count| count.bytes().all(|byte| byte.is_ascii_digit()))
        {
            shown.extend([" ", &rest.join(" ")]);
            continue;
        }
        shown.extend(std::iter::repeat_n(" ?", rest.len().min(MAX_MARKS)));
    }
    if shown == text { text.into() } else { shown.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pl_42_pl_51_commands_show_their_name_and_first_key() {
        for (given, expected) in [
            ("GET user:1", "GET user:1"),
            ("SET user:1 ?", "SET user:1 ?"),
            ("set user:1 \"a b\" EX 10", "set user:1 ? ? ? ?"),
            ("AUTH user hunter2", "AUTH ? ?"),
            ("HELLO 3 AUTH user hunter2", "HELLO ? ? ? ?"),
            ("CONFIG SET requirepass hunter2", "CONFIG ? ? ?"),
            ("EVAL return redis.call('a') 0", "EVAL ? ? ?"),
            ("SET a hunter2\nGET b\nhunter2 x", "SET a ?\nGET ?\n? ?"),
            ("set a [1 other arguments]", "set a [1 other arguments]"),
            ("JSON.SET a $ {}", "JSON.SET a ? ?"),
            ("PIPELINE", "PIPELINE"),
        ] {
            assert_eq!(commands(given), expected);
        }
    }
}
