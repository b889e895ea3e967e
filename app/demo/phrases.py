"""Sentences that fit any question at the help desk: how readers begin, and how the desk answers.

Every answer combines one fact (see `library`) with some of these. The names say how a person would
judge the sentence; a test checks that `answer_traits` agrees on each.
"""

GREETINGS = ("", "Hello. ", "Hi there. ", "Good morning. ", "Excuse me. ")

CONTEXTS = (
    "I am new in town.",
    "I am asking for my neighbour.",
    "I could not find this online.",
    "My daughter asked me this today.",
    "A friend told me to ask you.",
    "The notices say two different things.",
    "We moved here last month.",
    "I have not been here since spring.",
    "I come by almost every week.",
    "My reading group wants to know.",
    "I hope you can tell me this.",
    "I used to know this but forgot.",
    "My bus leaves soon.",
    "I am planning my week.",
    "My grandmother wants to know.",
    "I am a student here.",
    "Nobody on the phone could tell me.",
    "I tried to call you.",
    "My son and I made plans.",
    "I want to be sure before I come.",
    "I got a letter about this.",
    "Somebody at work asked me.",
    "I read your page twice.",
    "We are a family of five.",
)

KIND_OPENINGS = (
    "Thank you for asking.",
    "Of course, I am glad to help.",
    "Hello and welcome.",
    "Thanks for getting in touch.",
    "Good question, and we are happy to answer it.",
)
KIND_CLOSINGS = (
    "Have a lovely day.",
    "We look forward to your visit.",
    "You are always welcome here.",
    "Enjoy your reading.",
)
CURT_OPENINGS = (
    "Everyone asks this.",
    "Read the sign next time.",
    "You should know that by now.",
    "We are busy.",
)
CURT_CLOSINGS = (
    "Do not ask again.",
    "That is all.",
    "Now move along.",
)

# Instead of a fact.
NON_ANSWERS = (
    "That is hard to say.",
    "It depends on many things.",
    "I am not sure about that.",
    "The rules change now and then.",
)
# Instead of an offer to help.
EVASIONS = (
    "You have to find out the rest for yourself.",
    "Somebody else may know more.",
    "This is not really my job.",
    "Try your luck on another day.",
)
OFFERS = (
    "I can write that down for you.",
    "Let me show you the way.",
    "I can call a colleague over to help you.",
)

PADDING = (
    "The library has stood on the market square for many years.",
    "A lot of people come through our doors in the course of a year.",
    "The new carpet on the stairs was laid by a local firm.",
    "Some readers like the mornings and others like the evenings.",
    "The weather has been strange and the roof still needs work.",
)
