//! A [`homing_wire::HomeRef`] in JSON, as people write it.

/// A home.
pub(super) mod one {
    use homing_wire::HomeRef;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in super::super) fn serialize<S: Serializer>(
        home: &HomeRef,
        into: S,
    ) -> Result<S::Ok, S::Error> {
        into.collect_str(home)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<HomeRef, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// A home, or none.
pub(super) mod maybe {
    use homing_wire::HomeRef;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(in super::super) fn serialize<S: Serializer>(
        home: &Option<HomeRef>,
        into: S,
    ) -> Result<S::Ok, S::Error> {
        home.as_ref().map(ToString::to_string).serialize(into)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<HomeRef>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|t| t.parse().map_err(de::Error::custom)).transpose()
    }
}
