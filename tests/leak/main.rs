//! The values of a whole run are searched for in everything that the binary leaves or says, at
//! the most talkative level: they are nowhere but where they belong (P6, I1).

mod canaries;
mod story;
mod world;
