//! Times for people. In UTC, as everything that `homing client` prints.

/// When something happened here, as the loop saw it: what is pure is told, and asks no clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Moment {
    /// Milliseconds since the program began, never falling: deadlines count by it.
    pub(crate) ms: u64,
    /// Unix milliseconds by this machine's clock.
    pub(crate) unix_ms: u64,
}

const DAY_MS: u64 = 86_400_000;

/// Days since 1970.
pub(crate) fn day(unix_ms: u64) -> u64 {
    unix_ms / DAY_MS
}

/// `14:03`.
pub(crate) fn clock(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// `Wed 25 Nov 2026`.
pub(crate) fn date(unix_ms: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let day = day(unix_ms);
    let (year, month, of_month) = civil(day);
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    format!("{} {of_month} {} {year}", name(&WEEKDAYS, day % 7), name(&MONTHS, month - 1))
}

/// What stands beside a conversation: the time of today, else the day.
pub(crate) fn short(unix_ms: u64, now_unix_ms: u64) -> String {
    if day(unix_ms) == day(now_unix_ms) {
        return clock(unix_ms);
    }
    let (year, month, of_month) = civil(day(unix_ms));
    if civil(day(now_unix_ms)).0 == year {
        format!("{of_month:02}.{month:02}.")
    } else {
        format!("{month:02}/{year:04}")
    }
}

/// `last seen 14:03`, `last seen 25 Nov 2026`.
pub(crate) fn last_seen(unix_ms: u64, now_unix_ms: u64) -> String {
    if day(unix_ms) == day(now_unix_ms) {
        format!("last seen {}", clock(unix_ms))
    } else {
        format!("last seen {} {}", date(unix_ms), clock(unix_ms))
    }
}

/// Year, month and day of the month of a day since 1970, in the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-compatible low-level date algorithms"). Of days that no calendar needs, one that can be computed.
pub fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day.min(u64::from(u32::MAX)) + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_names() {
        for (day, shown) in [
            (0, "Thu 1 Jan 1970"),
            (59, "Sun 1 Mar 1970"),
            (11_016, "Tue 29 Feb 2000"),
            (20_782, "Wed 25 Nov 2026"),
        ] {
            assert_eq!(date(day * DAY_MS), shown);
        }
        assert_eq!(clock(20_782 * DAY_MS + 3_723_000), "01:02");
        assert!(!date(u64::MAX).is_empty());
    }

    #[test]
    fn beside_a_conversation_stands_the_least_that_says_it() {
        let now = 20_782 * DAY_MS + DAY_MS / 2;
        assert_eq!(short(now, now), "12:00");
        assert_eq!(short(now - DAY_MS, now), "24.11.");
        assert_eq!(short(now - 365 * DAY_MS, now), "11/2025");
    }
}
