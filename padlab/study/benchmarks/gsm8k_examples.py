"""Eight worked problems, written for padlab, that stand in front of a GSM8K question."""

EXAMPLES = (
    (
        "A baker sells 12 loaves in the morning and twice as many in the afternoon. How many loaves does he sell?",
        "In the afternoon he sells 12 * 2 = 24 loaves.\nTogether that is 12 + 24 = 36 loaves.\n#### 36",
    ),
    (
        "Mira buys 3 notebooks at $4 each and a pen for $2. She pays with a $20 note. How much change does she get?",
        "The notebooks cost 3 * 4 = $12.\nWith the pen that is 12 + 2 = $14.\nShe gets 20 - 14 = $6 back.\n#### 6",
    ),
    (
        "A train travels 60 miles per hour for 2 hours and 45 miles per hour for 4 hours. How far does it travel?",
        "The first part is 60 * 2 = 120 miles.\nThe second part is 45 * 4 = 180 miles.\n"
        "Together that is 120 + 180 = 300 miles.\n#### 300",
    ),
    (
        "Of 80 pupils, 25% walk to school and half of the others come by bus. How many come by bus?",
        "80 * 25 / 100 = 20 pupils walk.\nThat leaves 80 - 20 = 60 others.\n"
        "Of these, 60 / 2 = 30 come by bus.\n#### 30",
    ),
    (
        "Tom is 4 years older than Ann. In 6 years they will be 40 years old together. How old is Ann now?",
        "In 6 years both will be 6 years older, so now they are 40 - 12 = 28 years old together.\n"
        "Without Tom's 4 extra years that is 28 - 4 = 24, and Ann is 24 / 2 = 12.\n#### 12",
    ),
    (
        "A tank holds 500 litres and is 40% full. A pump adds 25 litres per minute. After how many minutes is it full?",
        "There are 500 * 40 / 100 = 200 litres in the tank.\nIt lacks 500 - 200 = 300 litres.\n"
        "That takes 300 / 25 = 12 minutes.\n#### 12",
    ),
    (
        "A shirt costs $30. Its price is raised by 20% and then lowered by $5. What does it cost now?",
        "The raise is 30 * 20 / 100 = $6, so it costs 30 + 6 = $36.\nAfter that it costs 36 - 5 = $31.\n#### 31",
    ),
    (
        "Three friends share 5 pizzas of 6 slices. Each eats 8 slices. How many slices are left?",
        "There are 5 * 6 = 30 slices.\nThey eat 3 * 8 = 24 of them.\n30 - 24 = 6 slices are left.\n#### 6",
    ),
)
