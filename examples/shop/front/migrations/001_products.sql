CREATE TABLE product (
    id INT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(190) NOT NULL,
    story TEXT NOT NULL,
    cents INT NOT NULL,
    hue INT NOT NULL
);
INSERT INTO product (name, story, cents, hue) VALUES
    ('Harbour lamp', 'Warm light for long evenings on the quay.', 4900, 38),
    ('Keel bench', 'Oak that has been at sea and likes it here.', 28900, 22),
    ('Signal flags', 'Twenty-six letters, hand sewn, wind not included.', 7450, 350),
    ('Rope doormat', 'Holds what the tide brings in.', 3200, 200),
    ('Brass compass', 'Knows where north is, and so will you.', 6600, 48),
    ('Sailcloth bag', 'Cut from a spinnaker that won twice.', 5400, 170);
CREATE TABLE purchase (
    id INT PRIMARY KEY AUTO_INCREMENT,
    product INT NOT NULL,
    at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
