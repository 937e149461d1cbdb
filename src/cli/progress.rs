//! What a person sees while a rotation goes on.
