"""The kinds of note of the reading world, as plain text: sentences and questions. Values: `padlab.worlds.values`.

A block of `TEXT` reads:

    school                                      the kind's name; "(held out)" behind it keeps it out of all training
    The new plan is out.                        how the note may begin
    {person} teaches {subject} in room {room}.  how one entry of the note may read (all entries have the same values)
    What does {person} teach? > subject         a question, and the value that answers it

A word in braces is a pool of values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from padlab.worlds.values import POOLS

TEXT = """
market
It is market day.
The market has opened.
{person} sells {goods} for {price}.
At {person}'s stall you get {goods} for {price}.
{person} offers {goods} at a price of {price}.
What does {person} sell? > goods
What can you buy from {person}? > goods
How much does {person} ask? > price
Who sells {goods}? > person
At whose stall do you find {goods}? > person
What is the price of {goods}? > price
Who asks {price}? > person
What can you buy for {price}? > goods

journeys
The holidays begin tomorrow.
Everybody is packing.
{person} travels to {city} {vehicle}.
{person} is going to {city} and gets there {vehicle}.
{person} visits friends in {city} and travels {vehicle}.
Where is {person} going? > city
Which city does {person} visit? > city
How does {person} travel? > vehicle
Who is going to {city}? > person
Who travels {vehicle}? > person
How does the visitor of {city} travel? > vehicle
To which city does somebody travel {vehicle}? > city

school
The new timetable is out.
School starts on Monday.
{person} teaches {subject} in room {room}.
{person} gives lessons in {subject} in room {room}.
In room {room}, {person} teaches {subject}.
What does {person} teach? > subject
Which subject does {person} give lessons in? > subject
In which room does {person} teach? > room
Who teaches {subject}? > person
Who gives the lessons in room {room}? > person
In which room is {subject} taught? > room
What is taught in room {room}? > subject

kitchen
These are the dishes of the day.
Dinner is being prepared.
The {dish} is made with {ingredient} and takes {minutes}.
The {dish} needs {ingredient} and is ready in {minutes}.
{minutes} are enough for the {dish}, which is made with {ingredient}.
What is the {dish} made with? > ingredient
What does the {dish} need? > ingredient
How long does the {dish} take? > minutes
Which dish is made with {ingredient}? > dish
Which dish is ready in {minutes}? > dish
How long does the dish with {ingredient} take? > minutes
What is in the dish that takes {minutes}? > ingredient

match
The season is over.
Here are the results of the tournament.
{person} plays for the {team} and scored {points}.
{person} scored {points} for the {team}.
With {points}, {person} was the best player of the {team}.
Which team does {person} play for? > team
For whom does {person} play? > team
How many points did {person} score? > points
Who plays for the {team}? > person
Who scored {points}? > person
How many points did the player of the {team} score? > points
Which team's player scored {points}? > team

station
The trains are on time today.
Here are the next departures.
The train to {city} leaves at {time} from platform {platform}.
At {time} the train to {city} leaves from platform {platform}.
On platform {platform} waits the train to {city}, which leaves at {time}.
When does the train to {city} leave? > time
At what time can you go to {city}? > time
From which platform does the train to {city} leave? > platform
Where does the train go that leaves at {time}? > city
Where does the train on platform {platform} go? > city
On which platform is the train at {time}? > platform
When does the train on platform {platform} leave? > time

lost property
The lost property office is full.
Three things were handed in.
{person} found a {thing} {place}.
The {thing} lay {place} and was found by {person}.
A {thing} that lay {place} was handed in by {person}.
What did {person} find? > thing
What was picked up by {person}? > thing
Where did {person} find something? > place
Who found the {thing}? > person
Where was the {thing}? > place
Who found something {place}? > person
What was found {place}? > thing

family
The whole family has come.
It is grandmother's birthday.
{person} is {age} and works as {job}.
{person}, who is {age}, works as {job}.
{person} works as {job} and is {age}.
How old is {person}? > age
What is the age of {person}? > age
What does {person} work as? > job
What is {person}'s job? > job
Who is {age}? > person
Who works as {job}? > person
How old is the person who works as {job}? > age
What is the job of the person who is {age}? > job

garden
Spring has come.
The gardeners are busy.
{person} grows {plant} {spot}.
{person} has planted {plant} {spot}.
The {plant} {spot} belong to {person}.
What does {person} grow? > plant
What has {person} planted? > plant
Where does {person} grow something? > spot
Who grows {plant}? > person
Where are the {plant}? > spot
Who has planted something {spot}? > person
What grows {spot}? > plant

library
The library is open.
Some books are still out.
{person} has a book about {topic} until {date}.
{person} borrowed a book about {topic}, due on {date}.
On {date}, {person} brings back a book about {topic}.
What is {person}'s book about? > topic
What does {person} read about? > topic
Until when does {person} have the book? > date
Who has the book about {topic}? > person
Whose book is due on {date}? > person
When is the book about {topic} due? > date
What is the book about that is due on {date}? > topic

band
The concert is tonight.
The musicians are rehearsing.
{person} plays the {instrument} and comes from {country}.
{person} from {country} plays the {instrument}.
The {instrument} is played by {person}, who was born in {country}.
Which instrument does {person} play? > instrument
What does {person} play? > instrument
Where does {person} come from? > country
Who plays the {instrument}? > person
Who comes from {country}? > person
From which country is the player of the {instrument}? > country
What does the musician from {country} play? > instrument

house
The house is quiet.
All flats are taken.
{person} lives on the {floor} floor and pays {rent}.
On the {floor} floor lives {person}, whose rent is {rent}.
{person} rents the flat on the {floor} floor for {rent}.
On which floor does {person} live? > floor
What is {person}'s rent? > rent
How much does {person} pay? > rent
Who lives on the {floor} floor? > person
Who pays {rent}? > person
What is the rent on the {floor} floor? > rent
On which floor is the rent {rent}? > floor

pets (held out)
The animal clinic opens at eight.
Three animals are in the waiting room.
{person} has a {animal} called {petname}.
{person} came with {petname}, a {animal}.
The {animal} is called {petname} and belongs to {person}.
Which animal does {person} have? > animal
What is the name of {person}'s animal? > petname
Who has a {animal}? > person
Whose animal is {petname}? > person
What is the {animal} called? > petname
What kind of animal is {petname}? > animal

camp (held out)
The camp is beside a lake.
It has rained all night.
{person} sleeps in the {colour} tent near the {tree}.
The {colour} tent near the {tree} is {person}'s.
Near the {tree} stands the {colour} tent of {person}.
What colour is {person}'s tent? > colour
Which tree is {person}'s tent near? > tree
Who sleeps in the {colour} tent? > person
Who sleeps near the {tree}? > person
Which tree is the {colour} tent near? > tree
What colour is the tent near the {tree}? > colour
"""


@dataclass(frozen=True)
class Kind:
    """One kind of note.

    Args:
        name: its first line in `TEXT`.
        heldout: no training text is of this kind.
        openings: sentences, one of which begins the note.
        entries: ways to write one entry; all hold the same values.
        questions: (question, name of the value that answers it).
    """

    name: str
    heldout: bool
    openings: tuple[str, ...]
    entries: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]

    @property
    def pools(self) -> list[str]:
        """The pools whose values an entry holds."""
        return slots(self.entries[0])


def slots(template: str) -> list[str]:
    """The pools named in a template.

    >>> slots("{person} sells {goods}.")
    ['person', 'goods']
    """
    return re.findall(r"\{(\w+)\}", template)


def read_with(template: str, text: str) -> dict[str, str] | None:
    """The values with which the template gives this text, or None.

    >>> read_with("{person} sells {goods}.", "Anna sells honey.")
    {'person': 'Anna', 'goods': 'honey'}
    """
    found = _pattern(template).fullmatch(text)
    return found.groupdict() if found else None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    choices = [f"(?P<{name}>{'|'.join(map(re.escape, POOLS[name]))})" for name in parts[1::2]]
    fixed = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(part for pair in zip(fixed, [*choices, ""], strict=True) for part in pair))


def _kind(block: str) -> Kind:
    head, *lines = block.strip().splitlines()
    questions = tuple(tuple(line.split(" > ")) for line in lines if " > " in line)
    sentences = [line for line in lines if " > " not in line]
    return Kind(
        head.removesuffix(" (held out)"),
        head.endswith(" (held out)"),
        tuple(s for s in sentences if not slots(s)),
        tuple(s for s in sentences if slots(s)),
        questions,
    )


KINDS = tuple(map(_kind, TEXT.strip().split("\n\n")))
