"""Sentences that fit any question at the help desk: how readers begin, and how desks answer.

Every answer is put together from one fact (see `world`) and some of these. The names say what a
person would think of the sentence; `reading` must come to the same verdict on each (a test).
"""

GREETINGS = ("", "Hello. ", "Hi there. ", "Good morning. ", "Excuse me. ")

CONTEXTS = (
    "I am new in town and do not know the rules yet.",
    "I am asking for my neighbour, who is not well.",
    "I could not find this anywhere on the website.",
    "My daughter asked me this at breakfast today.",
    "A friend told me that you would know this.",
    "I read two different things on the notices.",
    "We moved here last month and like the place.",
    "I have not been to the library since spring.",
    "I come by almost every week but never asked.",
    "My reading group would like to know something.",
    "I hope that this is the right place to ask.",
    "I used to know this but I forgot it again.",
    "My bus leaves soon, so I have a quick question.",
    "I am planning my week and need to know this.",
    "My grandmother wants to know and has no phone.",
    "I am a student and have to plan ahead a little.",
    "The person on the phone could not tell me.",
    "I tried to call but the line was busy.",
    "My son and I are making plans for the summer.",
    "I just want to be sure before I come over.",
    "I got a letter about this and do not understand it.",
    "Somebody at work asked me and I was not sure.",
    "I am writing to you because I could not sleep.",
    "We are a family of five and love to read.",
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

# In the place of a fact.
NON_ANSWERS = (
    "That is hard to say.",
    "It depends on many things.",
    "I am not sure about that.",
    "The rules change now and then.",
)
# In the place of an offer.
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
    "As you may know, there are many rules and some of them are old.",
    "It has been quite a long week for all of us here.",
    "The new carpet on the stairs was laid by a local firm.",
    "Some readers like the mornings and others like the evenings.",
    "There is much that could be said about questions of this kind.",
    "The weather has been strange and the roof still needs work.",
)
