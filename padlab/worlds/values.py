"""The values that fill the notes of the reading world: pools of names, goods, cities, prices, ...

Every third value of a pool is held out: no training text contains it. No value is in two pools, numbers apart.
"""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


POOLS = {
    "person": _split(
        "Anna, Boris, Clara, David, Emma, Felix, Greta, Hugo, Irene, Jonas, Karin, Leon, Maria, Nina, Oscar, Paula, "
        "Robert, Sofia, Thomas, Ursula, Victor, Wendy, Yusuf, Zoe, Adam, Bella, Carlos, Diana, Edgar, Fatima, George, "
        "Helen, Ivan, Julia, Kevin, Laura, Martin, Nora, Oliver, Petra, Ravi, Susan, Tim, Vera, Walter, Amir, Betty, "
        "Conrad, Doris, Erik, Fiona, Gustav, Hanna, Igor, Judith, Klaus, Linda, Marcus, Naomi, Otto"
    ),
    "goods": _split(
        "bread, honey, candles, apples, cheese, olives, soap, eggs, baskets, pears, jam, fish, mushrooms, flowers, "
        "butter, walnuts, hats, plums, pottery, carrots, tea, socks, onions, cider, toys, cherries, gloves, potatoes, "
        "books, grapes"
    ),
    "price": tuple(f"{k} pounds" for k in range(2, 32)),
    "city": _split(
        "Lisbon, Vienna, Oslo, Madrid, Dublin, Athens, Prague, Geneva, Warsaw, Berlin, Milan, Zurich, Cairo, Bergen, "
        "Hamburg, London, Naples, Munich, Paris, Seville, Moscow, Rome, Glasgow, Boston, Toronto, Lyon, Delhi, Tokyo, "
        "Bristol, Krakow, Chicago, Leipzig, Nairobi, Porto, Sydney, York"
    ),
    "vehicle": _split(
        "by train, by bus, by ferry, by car, on foot, by bicycle, by plane, by tram, by taxi, by coach, by motorbike, "
        "by boat, by van, on horseback, by scooter, by truck, by camper, by balloon"
    ),
    "subject": _split(
        "maths, history, biology, music, physics, French, chemistry, geography, art, German, Latin, drama, economics, "
        "English, cooking, Spanish, dance, Greek, sport, Chinese, philosophy, law, Russian, swimming"
    ),
    "room": tuple(str(k) for k in range(3, 48)),
    "dish": _split(
        "soup, pie, stew, salad, omelette, curry, pudding, risotto, cake, casserole, pizza, quiche, pasta, gratin, "
        "goulash, crumble, tart, lasagne, strudel, roast, chowder, pancake, paella, burger"
    ),
    "ingredient": _split(
        "garlic, basil, saffron, ginger, lemon, cumin, vanilla, mint, pepper, rice, spinach, cream, onion, almonds, "
        "chilli, beans, thyme, lentils, parsley, bacon, celery, salmon, tomatoes, coconut"
    ),
    "minutes": tuple(f"{k} minutes" for k in range(8, 60)),
    "team": _split(
        "Hawks, Tigers, Bears, Wolves, Sharks, Lions, Falcons, Bulls, Rockets, Foxes, Eagles, Giants, Pirates, "
        "Dragons, Panthers, Kings, Ravens, Knights, Comets, Stars, Rangers, Bisons, Cobras, Vikings"
    ),
    "points": tuple(f"{k} points" for k in range(4, 50)),
    "time": tuple(f"{hour}:{minute:02}" for hour in range(6, 23) for minute in (5, 10, 20, 25, 35, 40, 50, 55)),
    "platform": tuple(str(k) for k in range(1, 25)),
    "thing": _split(
        "woollen scarf, broken umbrella, pocket watch, leather bag, baseball cap, wedding ring, wooden spoon, "
        "water bottle, small camera, empty wallet, single glove, school book, winter coat, bunch of keys, straw hat, "
        "toy bear, pair of glasses, rubber boot, mobile phone, ballpoint pen, silk tie"
    ),
    "place": _split(
        "in the park, at the station, in the library, on the beach, in the museum, at the bakery, on the bus, "
        "in the church, at the stadium, in the cinema, on the bridge, in the forest, at the airport, in the hotel, "
        "at the harbour, in the theatre, at the market, in the tunnel, on the ferry, in the garage, at the bank"
    ),
    "age": tuple(f"{k} years old" for k in range(18, 80)),
    "job": _split(
        "a nurse, a baker, an architect, a lawyer, a pilot, a farmer, a dentist, a painter, a judge, a cook, "
        "an engineer, a librarian, a plumber, a singer, a waiter, an editor, a driver, a tailor, a chemist, a guide, "
        "a barber, a sailor, a butcher, an actor"
    ),
    "plant": _split(
        "roses, tulips, sprouts, lilies, peas, daisies, leeks, pumpkins, poppies, lettuces, violets, radishes, "
        "strawberries, melons, sunflowers, cabbages, orchids, peppers, irises, beets, turnips, ferns, asters, lupins"
    ),
    "spot": _split(
        "by the gate, behind the shed, along the fence, beside the pond, under the window, near the well, "
        "by the steps, behind the garage, along the path, beside the bench, under the balcony, near the fountain, "
        "by the wall, behind the barn, along the road, beside the stream, near the swing, by the hedge"
    ),
    "topic": _split(
        "whales, castles, volcanoes, chess, robots, engines, painting, bees, sailing, planets, magic, football, "
        "spiders, trees, islands, pyramids, clocks, railways, dreams, kites, deserts, mountains, opera, horses"
    ),
    "date": tuple(f"{day} {month}" for month in ("May", "June", "July", "August") for day in range(1, 31)),
    "instrument": _split(
        "violin, piano, flute, drum, trumpet, cello, guitar, harp, clarinet, organ, oboe, banjo, saxophone, viola, "
        "trombone, accordion, tuba, recorder, horn, bassoon, mandolin"
    ),
    "country": _split(
        "Norway, Spain, Japan, Brazil, Poland, Kenya, Italy, Canada, Greece, Peru, India, Ireland, Egypt, Sweden, "
        "Mexico, Turkey, France, Chile, Finland, Austria, Cuba, Iceland, Portugal, Morocco"
    ),
    "floor": _split(
        "first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth, "
        "thirteenth, fourteenth, fifteenth"
    ),
    "rent": tuple(f"{k} euros" for k in range(310, 990, 20)),
    "animal": _split(
        "dog, cat, parrot, rabbit, pony, turtle, hamster, goat, duck, snake, lizard, ferret, goose, canary"
    ),
    "petname": _split(
        "Rex, Luna, Max, Coco, Bruno, Daisy, Rocky, Molly, Shadow, Buddy, Simba, Charlie, Biscuit, Toby, Misty"
    ),
    "colour": _split("red, blue, green, yellow, orange, white, brown, purple, grey, pink, black, silver, golden"),
    "tree": _split("oak, birch, pine, willow, maple, chestnut, beech, poplar, cedar, apple tree, lime tree, walnut"),
}
